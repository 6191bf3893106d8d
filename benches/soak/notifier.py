"""Feeds its watchdog for a number of seconds, and then hangs.

    python3 notifier.py SECONDS
"""

import os
import signal
import socket
import sys
import time

notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
signal.signal(signal.SIGHUP, lambda *_: notify.send(b"STATUS=the file has changed"))
signal.signal(signal.SIGUSR1, lambda *_: notify.send(b"DRAINED=1"))
notify.send(b"READY=1")
until = time.monotonic() + int(sys.argv[1])
while time.monotonic() < until:
    notify.send(b"WATCHDOG=1")
    time.sleep(0.5)
time.sleep(1000)
