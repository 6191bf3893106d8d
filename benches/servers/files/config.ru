run(lambda do |env|
  sleep env["PATH_INFO"][1..].to_f
  [200, {"Content-Length" => "2", "Content-Type" => "text/plain"}, ["ok"]]
end)
