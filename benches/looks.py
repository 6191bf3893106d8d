#!/usr/bin/env python3
"""Measures what `drain: connections` costs while it waits for one answer beside idle connections.

    PYTHONPATH=benches/peers benches/looks.py OLD NEW [CONNECTIONS ...]      (two builds of drainit; 50, 1000 and 15000 connections by default)

For each number of connections, the two builds wait one after the other, each twice. Prints the processor time of
drainit as a share of a core, the ratio of the builds, and how long after the last answer and `idle` each drain ended.
With QUOTA=0.1 (as root), drainit and its server together get a tenth of a core.
"""
import asyncio, os, re, resource, signal, sys, tempfile, time

import kit

IDLE, WAITS, FROM, TO = 1.0, 9.0, 1.5, 7.5
CONFIG = """
shutdown: {grace_period: 60s}
processes:
  web:
    command: [python3, -B, %s, serve, '%d']
    readiness: {log: '^up$'}
    drain: {connections: {min: 1s, time: 40s, idle: %ds}}
"""


async def serve(port):
    async def answer(reader, writer):
        try:
            while line := await reader.readline():
                await asyncio.sleep(float(line))
                writer.write(b".")
        except ConnectionError:
            pass
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096) as server:
        print("up", flush=True)
        await server.serve_forever()


def used(pid):
    """The processor time of a process, in seconds."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)


async def ask(reader, writer, seconds):
    writer.write(b"%g\n" % seconds)
    return await reader.readexactly(1)


def limited():
    """Puts this process into a control group with the QUOTA, if there is one."""
    if quota := os.environ.get("QUOTA"):
        share, root = int(float(quota) * 100_000), "/sys/fs/cgroup"
        limits = {"cpu.max": f"{share} 100000"}
        if os.path.exists(f"{root}/cpu"):
            root, limits = f"{root}/cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(share)}
        group = f"{root}/looks-{os.getppid()}"
        os.makedirs(group, exist_ok=True)
        for name, value in {**limits, "cgroup.procs": "0"}.items():
            with open(f"{group}/{name}", "w") as file:
                file.write(value)


async def wait_once(drainit, connections):
    port = kit.free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config, tempfile.TemporaryFile("w+") as log:
        config.write(CONFIG % (os.path.abspath(__file__), port, IDLE))
        config.flush()
        command = [*kit.NAMESPACE, "--mount-proc", drainit, "run", "-c", config.name]
        run = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, preexec_fn=limited)
        while True:
            try:
                slow = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionError:
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        idle = []
        for at in range(0, connections, 200):
            some = range(min(200, connections - at))
            idle += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in some))
            await asyncio.gather(*(ask(*one, 0) for one in idle[at:]))
        await asyncio.sleep(0.5)
        answer = asyncio.create_task(ask(*slow, WAITS))
        await asyncio.sleep(0.1)
        pid = kit.init_of(run)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(FROM)
        before = used(pid)
        await asyncio.sleep(TO - FROM)
        share = (used(pid) - before) / (TO - FROM)
        await answer
        answered = time.monotonic()
        await run.wait()
        for _, writer in [slow, *idle]:
            writer.transport.abort()
        log.seek(0)
        text = log.read()
        drained = re.search(r"drain web: ([\d.]+)s, no request in flight", text)
        assert drained, text
        return share, float(drained[1]) - (answered - began) - IDLE


async def main():
    if sys.argv[1] == "serve":
        return await serve(int(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    _, *builds = sys.argv[:3]
    for connections in map(int, sys.argv[3:] or ["50", "1000", "15000"]):
        # The sockets that an earlier run has left make a later run slower, so the second round is in reverse order.
        runs = [[await wait_once(build, connections) for build in builds]]
        runs.append([await wait_once(build, connections) for build in builds[::-1]][::-1])
        shares = [min(run[at][0] for run in runs) for at in (0, 1)]
        late = [max(run[at][1] for run in runs) for at in (0, 1)]
        ratio = shares[1] / shares[0] if shares[0] else float("nan")
        print(f"{connections:6} connections: {shares[0]:.2%} -> {shares[1]:.2%} of a core (x {ratio:.2f}), the drain ends "
              f"{late[0]:.2f} -> {late[1]:.2f} s after the last answer and `idle`", flush=True)


asyncio.run(main())
