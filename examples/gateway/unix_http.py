"""An HTTP/1.1 server on a Unix socket that ends without cutting a request.

On SIGTERM (or Ctrl-C) the server takes no new connection, closes each connection with its next
answer, and `serve` returns. The server never closes an idle connection before the client does,
because a request may be on its way. The Policy Engine and the Python Executor use this server.
"""

import http.server
import os
import signal
import socket
import socketserver
import sys
import threading

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every method through `decide`, which gives a status and a body."""

    protocol_version = "HTTP/1.1"  # keep-alive
    timeout = 5  # seconds until an idle connection is closed; the clients do it after 1
    wbufsize = -1  # buffer the head and the body of a response for one write

    def answer(self):
        """Reads the request, calls `decide` and sends its answer."""
        length = int(self.headers.get("Content-Length") or 0)
        status, body = self.decide(self.rfile.read(length))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.stopping:
            self.send_header("Connection", "close")  # also ends the loop of this connection
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.server.count_request()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        """Logs nothing, because the Router logs each request."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread for each connection; the socket comes from sd_listen_fds(3), if handed over."""

    request_queue_size = 128

    def __init__(self, path, handler):
        self.stopping = False
        self.requests = 0
        self._lock = threading.Lock()
        super().__init__(path, handler, bind_and_activate=False)
        if os.environ.get("LISTEN_PID") == str(os.getpid()):
            self.socket.close()
            self.socket = socket.socket(fileno=3)
        else:
            self.server_bind()
            self.server_activate()
        # Another instance on the same socket may take the connection before this instance does.
        self.socket.setblocking(False)

    def count_request(self):
        with self._lock:
            self.requests += 1

    def handle_error(self, request, client_address):
        problem = sys.exc_info()[1]
        if not isinstance(problem, OSError):
            raise problem
        print(f"a client did not wait for its answer: {problem}", flush=True)


def serve(name, path, handler):
    """Serves `handler` on the socket `path` until a stop signal, then ends in good order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the threads inherit the mask
    server = Server(path, handler)
    accepting = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    accepting.start()
    print(f"{name} listens on {path}", flush=True)

    signal.sigwait(STOP_SIGNALS)
    server.stopping = True
    server.shutdown()
    accepting.join()
    server.server_close()  # waits for the threads
    print(f"{name} is done, {server.requests} requests answered", flush=True)
