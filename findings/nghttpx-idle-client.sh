#!/usr/bin/env bash
# nghttpx: after SIGQUIT, one idle client of HTTP/1.1 holds the graceful stop for a minute.
#
# nghttpx(1): "SIGQUIT: Shutdown gracefully. First accept pending connections and stop accepting connection. After all
# connections are handled, nghttpx exits." Expected: a kept connection on which no request is in flight is handled, so
# nghttpx closes the connection and exits at once, as nginx does.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian nghttp2-proxy=1.52.0-1+deb12u3 libnghttp2-14 libev4 libjemalloc2 libc-ares2 \
    libevent-openssl-2.1-7 libxml2 libicu72 libbpf1 libelf1
nghttpx="$place/root/usr/sbin/nghttpx"
"$nghttpx" --version
export nghttpx port place
port=$(free_port) behind=$(free_port)
cat >"$place/behind.py" <<'END'
import http.server, sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
END
start behind python3 "$place/behind.py" "$behind"
until_ok curl -sf "http://127.0.0.1:$behind/"
start nghttpx "$nghttpx" --conf=/dev/null "--frontend=127.0.0.1,$port;no-tls" "--backend=127.0.0.1,$behind" --workers=1
until_ok curl -sf "http://127.0.0.1:$port/"
# The main process starts the process that serves, and passes the signal on.
main=$(program) python3 - <<'END' >"$place/said"
import http.client, os, signal, time

client = http.client.HTTPConnection("127.0.0.1", int(os.environ["port"]))
client.request("GET", "/")
client.getresponse().read()
began, main = time.monotonic(), int(os.environ["main"])
os.kill(main, signal.SIGQUIT)
while os.path.exists(f"/proc/{main}/exe") and time.monotonic() < began + 120:
    time.sleep(0.2)
took = time.monotonic() - began
print("at once" if took < 5 else "after a minute" if 50 < took < 75 else f"after {took:.0f} s")
END
seen "nghttpx ended after a minute" "nghttpx ended $(cat "$place/said")"
