require "sidekiq"
Sidekiq.configure_client { |config| config.redis = {url: ENV["BROKER"]} }
Sidekiq.configure_server { |config| config.redis = {url: ENV["BROKER"]} }

class Job
  include Sidekiq::Worker

  def perform(number, seconds)
    began = Time.now.to_f
    path = "#{ENV["JOBS"]}/#{number}-#{began}"
    File.write(path, "begun #{began}\n")
    while (left = began + seconds - Time.now.to_f) > 0
      now = Time.now
      File.utime(now, now, path)
      sleep [left, 0.1].min
    end
    File.write(path, "ended #{Time.now.to_f}\n", mode: "a")
  end
end
