"""Tries readers of the log that hang, and binary output."""

import collections
import re
import os
import threading
import time

from matrix import SUPERVISORS, group
from tools import Service

row, tested = group("Output")


@row("nobody reads the log, and the process writes at full speed", "the process still gets SIGTERM and ends in time")
def no_reader(run):
    reader, writer = os.pipe()
    run.start(run.service("a", "flood", log=True), stdout=writer).wait("a")
    os.close(writer)
    time.sleep(1)
    try:
        run.stop(None).ended_well("a")
    finally:
        os.close(reader)


# envoyproxy/envoy#14066, webdevops#207: a pipe belongs to the user who made it; /dev/stdout opens it anew.
@row("a process of another user (`user`) opens `/dev/stdout`", "the line arrives (drainit's config has the key `log`)",
     ("drainit", "s6", "supervisord"))
def stdout_of_another(run):
    run.start(Service("a", ["sh", "-c", "echo through >/dev/stdout; exec sleep 60"], log=True, user="nobody"))
    run.until(lambda: b"through\n" in run.text(), "line", 5)
    run.stop(None)


@row("the reader of the log goes away", "the processes keep running, and SIGTERM ends the container with 0")
def reader_gone(run):
    reader, writer = os.pipe()
    run.start(run.service("a", f"await={run.dir}/go", "lines=100,x", log=True), stdout=writer).wait("a")
    os.close(writer)
    os.close(reader)
    (run.dir / "go").touch()
    run.wait("a", what="lines").stop().ended_well("a")


@row("stdout and stderr are closed", "runs and stops, code 0")
def closed(run):
    run.start(run.service("a", "raw=x", log=True), prefix=["sh", "-c", 'exec "$@" >&- 2>&-', "sh"])
    run.wait("a", what="raw").stop().ended_well("a")


# holds: C437
@row("a line of 1 GB", "no byte is lost, and the tool uses less than 64 MiB", alone=True)
def gigabyte(run):
    reader, writer = os.pipe()
    seen = []

    def read():
        while block := os.read(reader, 1 << 20):
            seen.append(len(block) - block.count(b"\0"))

    thread = threading.Thread(target=read, daemon=True)
    command = f"head -c 1000000000 /dev/zero | tr '\\0' x; echo; touch {run.dir}/done; exec sleep 60"
    run.start(Service("a", ["sh", "-c", command], log=True), stdout=writer)
    os.close(writer)
    thread.start()
    began = time.monotonic()
    run.until((run.dir / "done").exists, "end of the line", 60)
    run.until(lambda: sum(seen) >= 1_000_000_000, "whole line", 30)
    took = time.monotonic() - began
    peak = peak_kib(run)
    run.stop(None).check(peak < 64 << 10, f"{peak >> 10} MiB")
    run.took = took
    thread.join(5)
    os.close(reader)


def peak_kib(run):
    """The largest resident memory of PID 1 so far, in KiB."""
    status = open(f"/proc/{run.pid}/status", encoding="utf-8").read()
    return int(status.split("VmHWM:")[1].split()[0])


@row("NUL bytes and invalid UTF-8", "every byte arrives, in one line")
def bytes_of_any_kind(run):
    run.start(Service("a", ["sh", "-c", r"printf 'x\000\377\376\360\237y\033\n'; exec sleep 60"], log=True))
    run.until(lambda: b"x\0\xff\xfe\xf0\x9fy\x1b\n" in run.text(), "line as it was written", 5)
    run.stop(None)


@row("a last line without a newline", "the line arrives")
def last_line(run):
    run.start(Service("a", ["sh", "-c", "printf last; exit 3"], log=True)).end()
    run.check(b"last" in run.text(), "lost")


# docker/docs#17298
# holds: C436
@row("8 processes write lines of 20,000 characters at the same time", "no lines are mixed or lost",
     SUPERVISORS)
def long_lines(run):
    names, number, length = "abcdefgh", 50, 20_000
    script = run.dir / "write"
    script.write_text(f"n=0; while [ $n -lt {number} ]; do printf '%{length}s\\n' | tr ' ' $1; n=$((n+1)); done\n"
                      f"touch {run.dir}/over-$1; exec sleep 60")
    run.start(*(Service(name, ["sh", str(script), name], log=True) for name in names))
    run.until(lambda: all((run.dir / f"over-{name}").exists() for name in names), "last line", 60)
    run.stop(None)
    # drainit writes its own lines to stderr, which is the same pipe here. Writes up to 4096 bytes are atomic.
    text = re.sub(rb"\[drainit\] [^\n]*\n", b"", run.text())
    whole = collections.Counter(line.rpartition(b" ")[2] for line in text.splitlines())
    run.check(all(whole[name.encode() * length] == number for name in names), "mixed")
