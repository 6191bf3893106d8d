"""An app for gunicorn that puts an item into the queue of ../queue-worker at each request."""

import os
import pathlib
import time
import uuid

queue = pathlib.Path(os.environ["QUEUE"])


def app(_environ, start_response):
    time.sleep(0.1)
    item = queue / str(uuid.uuid4())
    item.touch()
    item.rename(queue / "todo" / item.name)  # the worker never sees a half-written item
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
