"""Graphs of many processes: the cost of each process beyond the fork and exec of its program."""

import http.client
import resource
import socket
import time

import kit
import supervisors
from supervisors import Process
from table import US, Row

SIZES = [10, 100]
# The number of processes with which not only drainit but also its peers are measured.
BESIDE = SIZES[-1]
LIMIT_MS = 1
LIMIT_KIB = 6
LIMIT_STATUS_MS = 2


def tree(directory, count):
    """A tree: process N needs process N/10."""
    log = directory / "log"
    return [Process(f"p{number}", [kit.CHILD, "serve", f"p{number}", str(log)],
                    after=f"p{number // 10}" if number else "", log=False) for number in range(count)]


def status(socket_path, method, path, body=None, about=b"p0"):
    """Milliseconds for the status of all processes, the median of five."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(socket_path))
        connection.request(method, path, body)
        answer = connection.getresponse()
        if answer.status != 200 or about not in answer.read():
            raise RuntimeError(f"no status from {socket_path}")
        times.append(1000 * (time.monotonic() - began))
        connection.close()
    return kit.median(times)


ALL_INFO = "<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"
STATUS = {
    supervisors.DRAINIT_RUN: lambda directory: status(directory / "control.sock", "GET", "/status"),
    supervisors.SUPERVISORD: lambda directory: status(directory / "supervisord.sock", "POST", "/RPC2", ALL_INFO),
}


def ended(log):
    moments = [int(line.split()[2]) for line in log.read_text().splitlines() if " end " in line]
    return len(moments), max(moments, default=0)


def one_round(write, count, ask=None):
    """(milliseconds to start, to stop, anonymous KiB, milliseconds for a status, read by `ask`)"""
    with kit.Scratch() as directory:
        log = directory / "log"
        log.touch()
        command = write(directory, tree(directory, count))
        began = time.time_ns()
        process = kit.start(command)
        kit.wait_until(lambda: log.stat().st_size and log.read_bytes().count(b" start ") == count, 90, f"start of {count}")
        started = max(int(line.split()[2]) for line in log.read_text().splitlines())
        # A supervisor needs a moment to notice that the last process runs.
        time.sleep(0.3)
        own = kit.own_processes(process.pid)
        anonymous = sum(kit.memory(pid)[0] for pid in own)
        asking = ask(directory) if ask else None
        asked = time.time_ns()
        process.terminate()
        kit.wait_end(process, 90)
        over = time.time_ns()
        # s6-svscan ends before its processes.
        kit.wait_until(lambda: ended(log)[0] == count, 60, f"end of {count}")
        return (started - began) / 1e6, (max(over, ended(log)[1]) - asked) / 1e6, anonymous, asking


def bare(directory, processes):
    return [kit.CHILD, "spawn", len(processes), directory / "log"]


def repeated(write, count, ask=None):
    times = kit.rounds(5, 1)
    columns = zip(*(one_round(write, count, ask) for _ in range(times)))
    return [None if None in column else kit.median(column) for column in columns]


def listed(values, format):
    return ", ".join(f"with {count:,}: {format(values[count])}" for count in SIZES)


def measure():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ours = {count: repeated(supervisors.drainit, count, STATUS[supervisors.DRAINIT_RUN]) for count in SIZES}
    floor = {count: repeated(bare, count) for count in SIZES}
    beside = {US: ours[BESIDE]}
    for supervisor in (supervisors.S6, supervisors.SUPERVISORD):
        beside[supervisor.name] = None if supervisor.missing() else \
            kit.attempt(supervisor.name, one_round, supervisor.write, BESIDE, STATUS.get(supervisor))
    few, most = SIZES[0], SIZES[-1]

    def above(column, count, result):
        # The difference may be negative: two runs on a busy machine can differ by more than the cost of drainit
        # itself.
        return max(0, result[column] - floor[count][column]) / count

    def memory(count):
        return (ours[count][2] - ours[few][2]) / (count - few) if count > few else 0

    def figures(value):
        return {name: result and value(result) for name, result in beside.items()}

    rows = []
    for column, what in enumerate(("start", "stop")):
        each = {count: above(column, count, ours[count]) for count in SIZES}
        # With few processes, the cost per process is mostly the fixed cost of drainit.
        rows.append(Row(f"scale: {what} of {BESIDE:,} processes, per process, without fork and exec", "ms",
                        figures(lambda result: above(column, BESIDE, result)), f"under {LIMIT_MS} ms at every size",
                        all(value < LIMIT_MS for value in each.values()),
                        detail=f"{listed(each, lambda value: f'{value:.2f}')}; fork and exec {floor[most][column] / most:.2f}",
                        why={"s6": "starts and stops all of them at once, in no order",
                             "supervisord": "does not wait"}))
    each = {count: memory(count) for count in SIZES[1:]}
    anonymous = {name: result and result[2] / BESIDE for name, result in beside.items()}
    rows.append(Row(f"scale: memory that the kernel cannot reclaim, {BESIDE:,} processes, per process", "KiB anonymous", anonymous,
                    f"up to {BESIDE:,} processes, under {LIMIT_KIB} KiB for each added process", each[BESIDE] < LIMIT_KIB,
                    detail=", ".join(f"from {few:,} to {count:,}: {each[count]:.1f}" for count in SIZES[1:])))
    asking = {count: ours[count][3] for count in SIZES}
    rows.append(Row(f"scale: `/status` of {BESIDE:,} processes", "ms",
                    figures(lambda result: result[3]), f"{LIMIT_STATUS_MS} ms", asking[most] <= LIMIT_STATUS_MS,
                    detail=listed(asking, lambda value: f"{value:.2f}")))
    return rows
