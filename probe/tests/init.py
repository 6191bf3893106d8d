#!/usr/bin/python3
"""An init that does what it owes. With the name of a row as its first argument, it makes the mistake of this row.

init.py FAULT CHILD [ARGS…]
"""

import os
import signal
import sys
import time

fault, command = sys.argv[1], sys.argv[2:]
TERM, KILL, CHLD = signal.SIGTERM, signal.SIGKILL, signal.SIGCHLD
ALL = signal.valid_signals() - {KILL, signal.SIGSTOP}
# The signals that a fault loses.
LOST = {
    "term-child": {TERM},
    "stop-signals": {signal.SIGINT, signal.SIGQUIT},
    "user-signals": {signal.SIGHUP, signal.SIGUSR1},
    "realtime-signals": {number for number in ALL if number > 40},
    "terminal-keys": {signal.SIGINT, signal.SIGTSTP, signal.SIGQUIT},
    "terminal-size": {signal.SIGWINCH},
}.get(fault, set())
WITHOUT_FOREGROUND = ("terminal-foreground", "terminal-keys", "terminal-size")


def lose_early_signals():
    time.sleep(0.2)
    while signal.sigtimedwait(ALL - {CHLD}, 0):
        pass


def become_child():
    os.setpgid(0, 0)
    if os.isatty(0) and fault not in WITHOUT_FOREGROUND:
        os.tcsetpgrp(0, os.getpid())
    # Python ignores these.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    null = "/dev/null"
    match fault:
        case "signal-dispositions":
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        case "no-leaked-descriptor":
            os.dup2(os.open(null, os.O_RDONLY), 9)
        case "closed-descriptors":
            os.dup2(os.eventfd(0, 0), 0)
        case "environment":
            del os.environ["PID1_PROBE"]
        case "stdin":
            os.dup2(os.open(null, os.O_RDONLY), 0)
        case "output":
            os.dup2(1, 2)
        case "last-output":
            os.dup2(pipe[1], 1)
    signal.pthread_sigmask(signal.SIG_SETMASK, {TERM} if fault == "signal-mask" else set())
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        os._exit(1 if fault == "no-program" else 127)
    except OSError:
        os._exit(126)


def reap():
    """Reaps what has ended. Returns the status of the child if it is among them."""
    only_child = fault == "double-fork" or fault == "reaps-while-stopping" and stopping
    flags = os.WNOHANG | (os.WUNTRACED if fault == "stopped-child" else 0)
    status = None
    while True:
        try:
            pid, found = os.waitpid(child if only_child else -1, flags)
        except ChildProcessError:
            return status
        status = found if pid == child else status
        if pid == 0 or fault == "thousand-ends":
            return status


def pass_on(number):
    match fault:
        case "outlives-child" if number == TERM:
            os._exit(0)
        case "second-term" if number == TERM and stopping:
            os.kill(child, KILL)
        case "pids-limit":
            if (helper := os.fork()) == 0:
                os._exit(0)
            os.waitpid(helper, 0)
    try:
        os.kill(child, number) if fault == "term-group" else os.killpg(child, number)
    except ProcessLookupError:
        pass


def end_survivors():
    if fault in ("survivor-term", "term-group"):
        return
    limit = 60 if fault in ("survivor-bounded", "term-while-forking") else 1
    if fault != "term-while-forking":
        os.kill(-1, TERM)
    until = time.monotonic() + limit
    while (left := until - time.monotonic()) > 0:
        if os.waitpid(-1, os.WNOHANG) == (0, 0):
            signal.sigtimedwait({CHLD}, left)


def code_of(status):
    if not os.WIFSIGNALED(status):
        return 0 if fault == "exit-code" else os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    kind = "killed-child" if number == KILL else "realtime-code" if number > 32 else "signal-code"
    return 1 if fault == kind else 128 + number


signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
if fault == "any-uid" and os.getuid() != 0:
    sys.exit("the init wants to be root")
if fault == "read-only-root" and os.statvfs("/").f_flag & os.ST_RDONLY:
    sys.exit("the init wants to write to /")
if fault == "no-proc":
    open("/proc/self/status").close()
if fault == "term-while-starting":
    lose_early_signals()
pipe = os.pipe() if fault == "last-output" else None
stopping, status = False, None
child = os.fork()
if child == 0:
    become_child()
try:
    os.setpgid(child, child)
except OSError:
    pass  # The child has done this, and executes its program already.
if fault == "term-first-millisecond":
    lose_early_signals()
while status is None:
    if fault == "idle":
        caught = signal.sigtimedwait(ALL, 0.2)
    else:
        caught = signal.sigwaitinfo(ALL)
    if caught and caught.si_signo == CHLD:
        status = reap()
    elif caught and caught.si_signo not in LOST:
        pass_on(caught.si_signo)
        stopping = stopping or caught.si_signo == TERM
try:
    end_survivors()
except (ChildProcessError, ProcessLookupError):
    pass
os._exit(code_of(status))
