# Serves the config.ru of the current folder, for the tests of this folder: as
# much of a Rack server as their requests need, so that none has to be installed.
#
#   ruby rack.rb PORT
require "socket"
require "stringio"

def run(app) = $app = app

load "config.ru"
$stdout.sync = true

def answer(socket)
  line = socket.gets or return
  env = { "REQUEST_METHOD" => line.split.first }
  while (line = socket.gets&.chomp) && !line.empty?
    name, value = line.b.split(":", 2)
    name = "HTTP_#{name.upcase.tr("-", "_")}"
    env[name] = [env[name], value.strip].compact.join(", ")
  end
  env["rack.input"] = StringIO.new(socket.read(env["HTTP_CONTENT_LENGTH"].to_i).to_s)
  status, headers, = begin
    $app.call(env)
  rescue StandardError => e
    warn e.full_message
    [500, {}, []]
  end
  socket.write("HTTP/1.1 #{status} .\r\n", headers.map { |k, v| "#{k}: #{v}\r\n" }.join, "Content-Length: 0\r\nConnection: close\r\n\r\n")
rescue SystemCallError
  nil # the other side has gone
ensure
  socket.close
end

server = TCPServer.new("127.0.0.1", Integer(ARGV.fetch(0)))
loop { Thread.new(server.accept) { |socket| answer(socket) } }
