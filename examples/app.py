"""A small app to put behind a proxy: answers each request after 100 ms.

    python3 app.py --port PORT

On SIGTERM, the app ends at once, even in the middle of a request, as many apps do. Therefore drainit stops the app
only when the proxy that sends the requests is gone.
"""

import argparse
import http.server
import time


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # buffer the head and the body of a response for one write

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(0.1)
        body = b"hello\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        """Logs nothing, because the proxy logs each request."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True, type=int)
    options = parser.parse_args()
    Server(("127.0.0.1", options.port), App).serve_forever()


if __name__ == "__main__":
    main()
