"""A server of long streams, as an LLM or MCP gateway has them: server-sent events, one token a second.

    python3 server.py --port PORT
    curl -N 'http://127.0.0.1:PORT/chat?seconds=600'

The last event is `data: [DONE]`: a stream without it was cut. On SIGTERM the server ends at once, even in the middle
of a stream. Therefore drainit stops the server only when Envoy, which sends the requests, is gone.
"""

import argparse
import http.server
import time
import urllib.parse


class Stream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        end = time.monotonic() + float(query.get("seconds", ["10"])[0])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while time.monotonic() < end:
            self.event("token")
            time.sleep(min(1, max(0, end - time.monotonic())))
        self.event("[DONE]")

    def event(self, text):
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_):
        """Logs nothing, because Envoy can log each request."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True, type=int)
    options = parser.parse_args()
    Server(("127.0.0.1", options.port), Stream).serve_forever()


if __name__ == "__main__":
    main()
