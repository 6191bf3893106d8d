"""PID 1 without drainit: starts a command, sends it SIGTERM, and kills it 10 s later, as `docker stop` does.

Prints how the command ended. It is a child of PID 1, because the kernel does not deliver a signal without a handler to
PID 1 itself."""

import os
import signal
import subprocess
import sys
import time

child = subprocess.Popen(sys.argv[1:])
asked = []


def ask(*_):
    asked.append(time.monotonic())
    child.send_signal(signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, 10)


signal.signal(signal.SIGTERM, ask)
signal.signal(signal.SIGALRM, lambda *_: child.kill())
code = child.wait()
name = signal.Signals(-code).name if code < 0 else f"code {code}"
print(f"ended with {name} after {time.monotonic() - asked[0] if asked else 0:.1f} s", file=sys.stderr, flush=True)
os._exit(0)
