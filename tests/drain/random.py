#!/usr/bin/env python3
"""Drains random servers under random traffic, and compares the report with the results of the clients.

Usage: random.py DRAINIT SEED, which runs drainit in a PID namespace; or random.py serve ADDRESS LINGERS, the server

If the stop of a process cuts an answer, the report must count it as `cut` or as `unsure`. A request in the last moment
before the stop is exempt. No answer is cut before the stop, and the shutdown ends within the grace period.
"""

import asyncio
import datetime
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile

GRACE = 9
# A request that comes less than this time in seconds before the stop may miss the last count. Such a request is cut
# without being counted.
MOMENT = 0.2


async def answer(reader, writer):
    """Answers `/MS` after MS milliseconds, and `/stream/MS` with a byte each 200 ms."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            kind, millis = re.match(rb"\w+ /(\w+)/(\d+)", head).groups()
            if length := re.search(rb"content-length: (\d+)", head):
                await reader.readexactly(int(length[1]))
            parts = int(millis) // 200 + 1 if kind == b"stream" else 1
            for part in range(parts):
                if kind == b"stream" and part == 0:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % parts)
                await asyncio.sleep(0.2 if kind == b"stream" else int(millis) / 1000)
                writer.write(b"." if kind == b"stream" else b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.")
                await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def serve(address, lingers):
    writers = []

    async def accepted(reader, writer):
        writers.append(writer)
        await answer(reader, writer)

    def end():
        for writer in writers:
            writer.close()
        asyncio.get_running_loop().call_later(0.3, os._exit, 0)

    if lingers == "yes":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    async with await asyncio.start_server(accepted, "0.0.0.0", int(address)) as server:
        await server.serve_forever()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return str(one.getsockname()[1])


def random_drain(rng):
    counting = {}
    if rng.random() < 0.3:
        counting["until"] = "connections"
    if rng.random() < 0.7:
        counting["idle"] = f"{rng.choice([250, 500, 1000])}ms"
    if rng.random() < 0.2:
        counting["exit_at"] = rng.randint(1, 3)
    least, most = sorted(rng.choices([0, 300, 1000, 2500, 4000], k=2))
    times = {"min": f"{least}ms", "time": f"{most or 1000}ms"}
    return rng.choice(
        [
            None,
            "connections",
            {"connections": {**counting, **times}},
            {"connections": {**counting, **times}},
            {"signal": {"signal": "CONT", **times, "connections": counting}},
            {"exec": {"command": rng.choice([["true"], ["sleep", "0.5"], ["false"]]), **times, "connections": counting}},
        ]
    )


def random_config(rng, place):
    processes, addresses = {}, {}
    for name in ("a", "b", "c")[: rng.randint(1, 3)]:
        drain = random_drain(rng)
        while (address := free_port()) in addresses.values():
            pass
        addresses[name] = address
        processes[name] = {
            "command": ["python3", "-B", os.path.abspath(__file__), "serve", address, rng.choice(["yes", "no"])],
            "readiness": {"tcp": f"127.0.0.1:{address}"},
            "depends_on": [rng.choice([*processes])] if processes and rng.random() < 0.6 else [],
            **({"drain": drain} if drain else {}),
        }
    config = {"shutdown": {"grace_period": f"{GRACE}s", "report": f"{place}/report.json"}, "processes": processes}
    return {**config, "control": {"socket": f"{place}/drainit.sock"}, "logging": {"format": "json"}}, addresses


async def client(rng, process, address, until, seen):
    """Uses one connection: sends up to three requests early, and more requests around T0."""
    now = asyncio.get_running_loop().time
    reader, writer = await asyncio.open_connection("127.0.0.1", address)

    async def ask(kind, millis):
        began = datetime.datetime.now(datetime.timezone.utc).timestamp()
        ended = None
        try:
            if kind == "upload":
                writer.write(f"POST /upload/{millis} HTTP/1.1\r\ncontent-length: 3\r\n\r\n".encode())
                for _ in range(3):
                    await asyncio.sleep(millis / 3000)
                    writer.write(b".")
            else:
                writer.write(f"GET /{kind}/{millis} HTTP/1.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"length: (\d+)", head)[1]))
            return True
        except (asyncio.IncompleteReadError, OSError):
            ended = datetime.datetime.now(datetime.timezone.utc).timestamp()
            return False
        except asyncio.CancelledError:
            # By now all servers have ended, and the client was still sending.
            ended = datetime.datetime.now(datetime.timezone.utc).timestamp()
            raise
        finally:
            seen.append((process, kind, millis, began, ended))

    for _ in range(rng.randint(0, 3)):
        if not await ask("plain", 0):
            return
        await asyncio.sleep(rng.uniform(0.03, 0.2))
    await asyncio.sleep(max(0, until - now()))
    for _ in range(rng.randint(1, 3)):
        if not await ask(rng.choice(["plain", "plain", "stream", "upload"]), rng.choice([0, 100, 600, 1500, 3000])):
            return
        await asyncio.sleep(rng.choice([0, 0.03, 0.1, 0.5]))
    await asyncio.sleep(rng.uniform(0, 3))
    writer.close()


async def play(drainit, seed, attempts=3):
    """Plays one random drain, and returns its faults."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="drainit-random-") as place:
        config, addresses = random_config(rng, place)
        with open(f"{place}/drainit.yaml", "w") as file:
            json.dump(config, file)
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", drainit, "run", "-c", f"{place}/drainit.yaml"]
        with open(f"{place}/log", "w") as log:
            run = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        health = [drainit, "health", "--wait", "30s", "--socket", f"{place}/drainit.sock"]
        while await (await asyncio.create_subprocess_exec(*health, stdout=-3, stderr=-3)).wait():
            if run.returncode is not None:
                # If drainit does not get ready, another program may have taken a port, so the play begins anew.
                return await play(drainit, seed, attempts - 1) if attempts > 1 else [open(f"{place}/log").read()]
            await asyncio.sleep(0.05)
        now, seen = asyncio.get_running_loop().time, []
        t0 = now() + 1.2
        chosen = [rng.choice([*addresses.items()]) for _ in range(rng.randint(2, 14))]
        clients = [
            asyncio.create_task(client(random.Random(f"{seed}-{at}"), *one, t0 + rng.uniform(-0.9, 2), seen))
            for at, one in enumerate(chosen)
        ]
        await asyncio.sleep(t0 - now())
        children = open(f"/proc/{run.pid}/task/{run.pid}/children").read().split()
        os.kill(int(children[0]), signal.SIGTERM)
        await run.wait()
        took = now() - t0
        await asyncio.sleep(0.3)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        log = open(f"{place}/log").read()
        if not os.path.exists(f"{place}/report.json"):
            return [f"no report:\n{log}"]
        report = json.load(open(f"{place}/report.json"))
    faults = [f"the shutdown took {took:.1f} s"] if took > GRACE + 1 else []
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    stops = {one["name"]: one["time"] for one in events if one.get("event") == "stopping"}
    for process in report["processes"]:
        name = process["name"]
        if name not in stops:
            continue
        stop = datetime.datetime.fromisoformat(stops[name].replace("Z", "+00:00")).timestamp()
        cut = [one for one in seen if one[0] == name and one[4] and one[3] < stop - MOMENT]
        if early := [one for one in cut if one[4] < stop - 0.05]:
            faults.append(f"{name}: cut before the stop at {stop}: {early}")
        is_drained = (process["drain"] or {}).get("requests")
        requests = is_drained or process["stop"]["requests"] or {}
        named = (requests.get("cut") or 0) + (requests.get("unsure") or 0)
        # These include the requests of the last moment.
        most = sum(one[0] == name and one[4] is not None for one in seen)
        if (requests.get("cut") or 0) > most:
            faults.append(f"{name}: {requests['cut']} cut, but only {most} clients got no answer")
        if len(cut) > named:
            faults.append(f"{name}: {named} named of {len(cut)} that the stop at {stop} has cut: {cut}")
    return [f"{fault}\n{json.dumps(config)}\n{log}" for fault in faults]


async def main():
    if sys.argv[1] == "serve":
        return await serve(*sys.argv[2:])
    _, drainit, seed = sys.argv
    if faults := await play(drainit, seed):
        sys.exit(f"seed {seed}: " + "\n".join(faults))


asyncio.run(main())
