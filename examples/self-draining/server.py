"""A server that drains itself, as agentgateway does.

    python3 server.py --address ADDRESS --port PORT
    curl -N 'http://ADDRESS:PORT/chat?seconds=8'     a stream, whole if its last event is `data: [DONE]`
    curl -i http://ADDRESS:PORT/readyz               503 from SIGTERM on

After SIGTERM it still serves for CONNECTION_MIN_TERMINATION_DEADLINE (5s), and asks each client by `Connection:
close` to leave. Then it ends with its last connection, or 5 s before TERMINATION_GRACE_PERIOD_SECONDS (30) are over.
"""

import argparse
import http.server
import os
import signal
import threading
import time
import urllib.parse

# The seconds of the grace period that the server leaves for an orderly end after its deadline.
MARGIN = 5


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/chat":
            seconds = urllib.parse.parse_qs(url.query).get("seconds", ["5"])[0]
            return self.stream(float(seconds))
        is_ready = url.path != "/readyz" or not self.server.draining.is_set()
        self.answer(200 if is_ready else 503, b"ok\n" if is_ready else b"draining\n")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.draining.is_set():
            self.send_header("Connection", "close")  # which also ends the connection here
        self.end_headers()
        self.wfile.write(body)

    def stream(self, seconds):
        end = time.monotonic() + seconds
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while time.monotonic() < end:
            self.wfile.write(b"data: token\n\n")
            time.sleep(min(1, max(0, end - time.monotonic())))
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        """Logs no requests."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, address):
        super().__init__(address, Handler)
        self.draining, self.lock, self.connections = threading.Event(), threading.Lock(), 0

    def process_request(self, *args):
        with self.lock:
            self.connections += 1
        super().process_request(*args)

    def shutdown_request(self, request):
        super().shutdown_request(request)
        with self.lock:
            self.connections -= 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", required=True, type=int)
    options = parser.parse_args()
    shortest = float(os.environ.get("CONNECTION_MIN_TERMINATION_DEADLINE", "5s").removesuffix("s"))
    longest = float(os.environ.get("TERMINATION_GRACE_PERIOD_SECONDS", "30")) - MARGIN

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = Server((options.address, options.port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGTERM})

    began = time.monotonic()
    server.draining.set()
    while (after := time.monotonic() - began) < longest:
        if after >= shortest and server.connections == 0:
            break
        time.sleep(0.05)
    print(f"ends with {server.connections} connections", flush=True)


if __name__ == "__main__":
    main()
