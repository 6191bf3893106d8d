"""A worker that takes items from a queue, a batch at a time, and loses none when it is stopped.

    python3 worker.py --queue DIRECTORY

The queue is a directory. An item is a file in `todo`. A worker takes an item by renaming its file, and moves the file
to `done` when the work is done.

On SIGUSR1 the worker takes no more items, finishes its batch, and sends `DRAINED=1` to $NOTIFY_SOCKET (the `notify`
protocol of drainit). SIGTERM ends the worker at once, even in a batch.
"""

import argparse
import os
import pathlib
import signal
import socket
import threading
import time

BATCH = 20


def tell(message):
    """Sends a message to the supervisor of this process; sd_notify(3) without a library."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(message.encode(), address)


class Queue:
    def __init__(self, directory):
        self.todo = directory / "todo"
        self.done = directory / "done"
        self.mine = directory / f"taken-by-{os.uname().nodename}-{time.time_ns()}"
        for each in (self.todo, self.done, self.mine):
            each.mkdir(parents=True, exist_ok=True)

    def take(self, count):
        batch = []
        for item in sorted(self.todo.iterdir())[:count]:
            try:
                batch.append(item.rename(self.mine / item.name))
            except FileNotFoundError:
                pass  # another worker has taken the item
        return batch

    def finish(self, item):
        item.rename(self.done / item.name)


def work(_item):
    time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--queue", required=True, type=pathlib.Path)
    options = parser.parse_args()
    draining = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: draining.set())
    queue = Queue(options.queue)
    tell("READY=1")

    while not draining.is_set():
        batch = queue.take(BATCH)
        for number, item in enumerate(batch):
            if draining.is_set():
                tell(f"STATUS={len(batch) - number} of {len(batch)} items left")
            work(item)
            queue.finish(item)
        if not batch:
            draining.wait(0.1)

    queue.mine.rmdir()
    tell("DRAINED=1")
    while True:
        signal.pause()  # TERM can now end this process without a loss


if __name__ == "__main__":
    main()
