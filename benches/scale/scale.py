#!/usr/bin/env python3
"""Graphs of many processes: what starting, holding, showing and stopping them costs drainit for each process.

    benches/scale/scale.py [DRAINIT] [SHAPE…] [N…]     shapes: flat, chain, prefix; both are all unless given

Beside it, in the same run, a loop of posix_spawn, kill and waitpid: what fork, exec and the end of a process cost alone.
Times are milliseconds a process: on the clock, and of drainit's processor time.
"""
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = 1000 / os.sysconf("SC_CLK_TCK")


def config(shape, count, idler, sock):
    lines = [f"control: {{socket: {sock}}}", "shutdown: {grace_period: 300s}", "processes:"]
    for n in range(count):
        keys = [f"command: [{idler}]"]
        if shape == "chain" and n:
            keys.append(f"depends_on: [p{n - 1}]")
        if shape == "prefix":
            keys.append(f"log: {{prefix: p{n}}}")
        lines.append(f"  p{n}: {{{', '.join(keys)}}}")
    return "\n".join(lines) + "\n"


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def private(pid):
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return sum(int(kib) for kib in re.findall(r"^(?:Private_Dirty|Swap): +(\d+)", text, re.M))


def ask(sock, path):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(sock)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def measure(drainit, shape, count, idler, directory):
    sock, file = f"{directory}/sock", f"{directory}/drainit.yaml"
    open(file, "w").write(config(shape, count, idler, sock))
    log = open(f"{directory}/log", "wb")
    # Not as root's own stop signal: a session of its own, and nothing to read.
    begin = time.monotonic()
    # The stack of threads and everything else is as in a container; only descriptors may be short.
    run = subprocess.Popen([drainit, "run", "-c", file], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while True:
        if run.poll() is not None:
            sys.exit(open(f"{directory}/log").read()[-2000:])
        with open(f"{directory}/log", "rb") as written:
            written.seek(max(0, os.path.getsize(f"{directory}/log") - 4096))
            if b"everything is ready" in written.read():
                break
        time.sleep(0.002)
    started, cpu_started, memory = time.monotonic(), cpu(run.pid), private(run.pid)
    status_begin = time.monotonic()
    assert ask(sock, "/status")[0] == 200
    status, cpu_status = time.monotonic() - status_begin, cpu(run.pid)
    run.send_signal(signal.SIGTERM)
    stop = time.monotonic()
    _, wait_status, usage = os.wait4(run.pid, 0)
    run.returncode = 0
    end = time.monotonic()
    assert wait_status == 0, (wait_status, open(f"{directory}/log").read()[-2000:])
    total = (usage.ru_utime + usage.ru_stime) * 1000
    each = lambda value: value / count
    return [
        each(1000 * (started - begin)), each(cpu_started), each(1000 * (end - stop)), each(total - cpu_status),
        1000 * status, memory,
    ]


def main():
    args = sys.argv[1:]
    counts = [int(arg) for arg in args if arg.isdigit()] or [10, 100, 1000, 5000]
    shapes = [arg for arg in args if arg in ("flat", "chain", "prefix")] or ["flat", "chain", "prefix"]
    drainit = next((arg for arg in args if "/" in arg), os.path.join(HERE, "../../target/static/drainit"))
    with tempfile.TemporaryDirectory() as directory:
        idler, spawner = f"{directory}/idler", f"{directory}/spawner"
        subprocess.run(["cc", "-O2", "-static", "-nostdlib", "-o", idler, f"{HERE}/idler.c"], check=True)
        subprocess.run(["cc", "-O2", "-static", "-o", spawner, f"{HERE}/spawner.c"], check=True)
        print("                 start: clock     cpu   stop: clock     cpu   status ms   private KiB")
        for count in counts:
            bare = subprocess.run([spawner, idler, str(count)], check=True, capture_output=True, text=True, timeout=120)
            wall, stop, cpu_start, cpu_stop = (float(word) / count for word in bare.stdout.split())
            print(f"{'bare':8}{count:6}{wall:16.3f}{cpu_start:8.3f}{stop:14.3f}{cpu_stop:8.3f}", flush=True)
            for shape in shapes:
                row = measure(drainit, shape, count, idler, directory)
                print(f"{shape:8}{count:6}{row[0]:16.3f}{row[1]:8.3f}{row[2]:14.3f}{row[3]:8.3f}{row[4]:12.1f}{row[5]:14}", flush=True)


main()
