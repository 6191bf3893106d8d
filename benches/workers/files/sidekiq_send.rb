require "json"
require_relative "sidekiq_app"
JSON.parse(STDIN.read).each { |job| Job.perform_async(*job) }
