#!/usr/bin/python3
"""A supervisor that does what it owes. With the name of a row as its first argument, it makes the mistake of this row.

supervisor.py FAULT CHILD [ARGS…] [-- CHILD [ARGS…]]
"""

import os
import signal
import subprocess
import sys
import time

fault, words = sys.argv[1], sys.argv[2:]
cut = words.index("--") if "--" in words else len(words)
commands = [command for command in (words[:cut], words[cut + 1 :]) if command]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})


def unblock():
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def start(command):
    time.sleep(0.3)
    return subprocess.Popen(command, preexec_fn=unblock)


children = [start(command) for command in commands]
while signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGCHLD:
    if fault != "restart":
        children = [child if child.poll() is None else start(command) for child, command in zip(children, commands)]
if fault == "order":
    for child in children:
        child.terminate()
for child in reversed(children):
    child.terminate()
    try:
        child.wait(60 if fault != "none" else 3)
    except subprocess.TimeoutExpired:
        child.kill()
