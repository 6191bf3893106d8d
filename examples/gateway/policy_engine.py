"""The Policy Engine: answers the Router about every request, after asking the Python Executor.

    python3 policy_engine.py --listen SOCKET --executor SOCKET

200 lets the request pass, 403 refuses it, and 503 says that the Python Executor could not be asked.
If the Python Executor is stopped too early, requests therefore fail.
"""

import argparse
import http.client
import json
import socket
import threading
import time

import unix_http

ANSWER_TIMEOUT = 2  # seconds
IDLE_TIMEOUT = 1  # seconds; shorter than that of the server, so that the client is the one to close


class UnixConnection(http.client.HTTPConnection):
    """A kept-alive client connection to a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=ANSWER_TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Executor:
    """The client of the Python Executor: one connection for each thread, no second attempt."""

    def __init__(self, path):
        self.path = path
        self._mine = threading.local()

    def allows(self, method, path):
        """Raises OSError or HTTPException when there is no answer."""
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = UnixConnection(self.path)
        elif time.monotonic() > self._mine.used + IDLE_TIMEOUT:
            connection.close()  # the request opens a new one
        try:
            connection.request("POST", "/", json.dumps({"method": method, "path": path}))
            response = connection.getresponse()
            body = response.read()
            self._mine.used = time.monotonic()
        except Exception:
            self._mine.connection = None
            connection.close()
            raise
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        return json.loads(body)["allow"]


class PolicyEngine(unix_http.Handler):
    """The HTTP side of Envoy's `ext_authz`: the status is the decision."""

    executor = None  # set by main

    def decide(self, _body):
        try:
            allowed = self.executor.allows(self.command, self.path)
        except (OSError, http.client.HTTPException) as problem:
            print(f"python executor does not answer: {problem!r}", flush=True)
            return 503, b"no policy decision\n"
        return (200, b"") if allowed else (403, b"refused by policy\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True, metavar="SOCKET")
    parser.add_argument("--executor", required=True, metavar="SOCKET")
    options = parser.parse_args()
    PolicyEngine.executor = Executor(options.executor)
    unix_http.serve("policy engine", options.listen, PolicyEngine)


if __name__ == "__main__":
    main()
