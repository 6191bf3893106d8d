#!/usr/bin/env python3
"""Drains a real Envoy of various sizes under drainit, and prints a table. Without ROWs also writes the table into
docs/measured/drains.md.

Usage: sizes.py DRAINIT ENVOY [ROW…]

In each row, 20 clients send a request each 200 ms on connections that they keep, and one more request is in flight for
8 s. The clients continue for `min` (2 s) after drainit has got SIGTERM. The columns: requests answered and failed; the
time from the last answer to the end of the drain; Envoy's processor time in the first 2 s of the drain, less its
processor time in the 2 s before; and Envoy's use of a core before the drain and while the drain waits for the last
request. A row with a quota needs root and a cgroup with the controller `cpu`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit

LONG, MIN, TIME = 8, 2, 25
# name: clusters, listeners, idle connections, processors of a quota, busy loops beside Envoy
ROWS = {
    "1 cluster": (1, 1, 0, None, 0),
    "1,000 clusters": (1000, 1, 0, None, 0),
    "10,000 clusters": (10_000, 1, 0, None, 0),
    "1,000 listeners": (1, 1000, 0, None, 0),
    "10,000 connections": (1, 1, 10_000, None, 0),
    "1,000 clusters, a tenth of a core": (1000, 1, 0, 0.1, 0),
    "3,000 clusters, two busy cores": (3000, 1, 0, None, 2),
}


def envoy_config(clusters, listeners, port, upstream, admin):
    typed = "type.googleapis.com/envoy.extensions.filters."
    at = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    manager = {"@type": typed + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "gateway",
               "http_filters": [{"name": "router", "typed_config": {"@type": typed + "http.router.v3.Router"}}],
               "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                   {"match": {"prefix": "/"}, "route": {"cluster": "cluster-0", "timeout": "0s"}}]}]}}
    chains = [{"filters": [{"name": "manager", "typed_config": manager}]}]
    limits = {"thresholds": [{"max_connections": 20_000, "max_requests": 20_000, "max_pending_requests": 20_000}]}
    return json.dumps({"admin": {"address": {"pipe": {"path": admin}}}, "static_resources": {
        "listeners": [{"name": f"listener-{n}", "address": at(0 if n else port), "filter_chains": chains}
                      for n in range(listeners)],
        "clusters": [{"name": f"cluster-{n}", "circuit_breakers": limits, "load_assignment": {
            "cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}]}}
                     for n in range(clusters)]}})


async def upstream(reader, writer):
    """Answers after the number of seconds in the path."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(float(head.split()[1][1:]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


class Clients:
    def __init__(self, port):
        self.port, self.answered, self.failed, self.ends, self.last = port, 0, 0, None, 0

    async def request(self, stream, seconds):
        """Returns the connection if the server keeps it open, and otherwise None."""
        try:
            reader, writer = stream or await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(f"GET /{seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
        except (OSError, asyncio.IncompleteReadError):
            self.failed += 1
            return None
        self.answered += 1
        self.last = time.monotonic()
        if b"connection: close" not in head.lower():
            return reader, writer
        writer.close()
        return None

    async def client(self):
        stream = None
        while self.ends is None or time.monotonic() < self.ends:
            stream = await self.request(stream, 0)
            await asyncio.sleep(0.2)
        if stream:
            stream[1].close()


def processor_time(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quota(share):
    """A command that moves the process into a cgroup with this share of a processor; empty without a share."""
    if share is None:
        return []
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (old if old.exists() else new) / "drainit-bench"
    group.mkdir(exist_ok=True)
    limit = ("cpu.cfs_quota_us", f"{share * 100_000:.0f}") if old.exists() else ("cpu.max", f"{share * 100_000:.0f} 100000")
    (group / limit[0]).write_text(limit[1])
    return ["sh", "-c", f"echo $$ >{group}/cgroup.procs && exec \"$@\"", "sh"]


async def measure(drainit, envoy, clusters, listeners, idle, share, busy):
    port, upstream_port = kit.free_port(), kit.free_port()
    server = await asyncio.start_server(upstream, "127.0.0.1", upstream_port, backlog=1024)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    with tempfile.TemporaryDirectory() as directory:
        admin = f"{directory}/admin.sock"
        Path(directory, "envoy.json").write_text(envoy_config(clusters, listeners, port, upstream_port, admin))
        Path(directory, "drainit.json").write_text(json.dumps({
            "shutdown": {"grace_period": TIME + 15},
            "processes": {"router": {
                "command": [envoy, "-c", f"{directory}/envoy.json", "-l", "error", "--concurrency", "2", "--disable-hot-restart"],
                "readiness": {"envoy": f"unix:{admin}", "timeout": "5m"},
                "drain": {"envoy": {"admin": f"unix:{admin}", "time": TIME, "min": MIN,
                                    "until": "requests" if idle else "connections"}},
            }}}))
        log = open(Path(directory, "log"), "w+")
        command = [*quota(share), drainit, "run", "-c", f"{directory}/drainit.json"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            says = lambda text: text in Path(directory, "log").read_text()
            while not says("everything is ready"):
                if process.poll() is not None:
                    raise RuntimeError(Path(directory, "log").read_text())
                await asyncio.sleep(0.1)
            child = int(subprocess.check_output(["pgrep", "-P", str(process.pid)]).split()[0])
            clients = Clients(port)
            idle_streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(idle)]
            tasks = [asyncio.create_task(clients.client()) for _ in range(20)]
            before, began = processor_time(child), time.monotonic()
            await asyncio.sleep(MIN)
            usual = (processor_time(child) - before) / (time.monotonic() - began)
            tasks.append(asyncio.create_task(clients.request(None, LONG)))
            await asyncio.sleep(0.5)
            before, began = processor_time(child), time.monotonic()
            process.send_signal(signal.SIGTERM)
            clients.ends = began + MIN
            await asyncio.sleep(MIN)
            busy_at_first = processor_time(child) - before - usual * MIN
            middle, began_middle = processor_time(child), time.monotonic()
            await asyncio.sleep(LONG - MIN - 1.5)
            waits = (processor_time(child) - middle) / (time.monotonic() - began_middle)
            await asyncio.gather(*tasks)
            while not says("router: drain over"):
                await asyncio.sleep(0.01)
            late = time.monotonic() - clients.last
            del idle_streams
            process.wait()
            return clients, late, busy_at_first, usual, waits
        finally:
            if process.poll() is None:
                process.kill()
            for burner in burners:
                burner.kill()
            server.close()


def main():
    drainit, envoy, *wanted = sys.argv[1:]
    head = ("Envoy", "answered", "failed", "from the last answer to the end of the drain, s", "first 2 s, s",
            "before the drain, %", "while the drain waits, %")
    failed, rows = 0, []
    for name, row in ROWS.items():
        if wanted and name not in wanted:
            continue
        if row[3] and os.geteuid() != 0:
            rows.append((name, "needs root", *[""] * 5))
            continue
        clients, late, first, usual, waits = asyncio.run(measure(drainit, envoy, *row))
        failed += clients.failed
        rows.append((name, f"{clients.answered}", f"{clients.failed}", f"{late:.2f}", f"{max(first, 0):.2f}",
                     f"{100 * usual:.1f}", f"{100 * waits:.1f}"))
        kit.say(" | ".join(rows[-1]))
    table = kit.table(head, rows)
    print(table)
    if not wanted:
        kit.write_page("drains.md", "make bench-sizes", sizes=f"{time.strftime('%Y-%m-%d')}, on {kit.machine()}.\n\n{table}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
