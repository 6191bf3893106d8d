"""An app for gunicorn that can be drained: `POST /drain`, on the control socket only.

From this request on, every answer to a client says `Connection: close`. `POST /drain` gets its answer when no client
has sent a request for a second. The workers share memory that was made before the fork.
"""

import mmap
import struct
import time

# Byte 0 is set during the drain. Bytes 8 to 15 hold the time of the last request, on a clock that
# all processes share.
shared = mmap.mmap(-1, 16)


def before_request(_worker, request):
    """gunicorn's `pre_request`."""
    if request.path == "/drain":
        return
    struct.pack_into("d", shared, 8, time.monotonic())
    if shared[0]:
        # Act as if the client had sent this header: gunicorn ignores a `Connection` header of the
        # app.
        request.headers.insert(0, ("CONNECTION", "close"))


def drain():
    shared[0] = 1
    while time.monotonic() < struct.unpack_from("d", shared, 8)[0] + 1:
        time.sleep(0.05)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/drain":
        # A request without a peer address comes from the Unix socket.
        if environ["REMOTE_ADDR"] or environ["REQUEST_METHOD"] != "POST":
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        drain()
        start_response("200 OK", [("Content-Length", "8")])
        return [b"drained\n"]
    time.sleep(0.1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
