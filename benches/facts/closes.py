"""Which connections Envoy's drain closes, and when."""

import asyncio
import time

from kit import FRAME, Connection, Http1, Http2, WebSocket
from table import measures, until, when

CLIENTS = 20
KINDS = (
    "HTTP/1.1, 1 request/s",
    "HTTP/1.1, idle",
    "HTTP/2, 1 request/s",
    "HTTP/2, idle",
    "WebSocket, a message each 500 ms",
    "TCP, a message each 500 ms",
    "server-sent events, a stream of 25 s",
    "gRPC, a stream of 25 s",
)


async def connect(envoy):
    """Connections of each kind, and the tasks that use them."""
    kinds, tasks = [], []
    for kind in KINDS:
        connections = []
        for _ in range(CLIENTS):
            if kind.startswith("HTTP/1.1"):
                one = await Http1.open(envoy)
                await one.request()
                busy = one.keep_asking(1) if "idle" not in kind else one.watch()
            elif kind.startswith(("HTTP/2", "gRPC")):
                one = await Http2.open(envoy)
                await one.begin()
                if kind.startswith("gRPC"):
                    one.ask("/stream/25", grpc=True)
                else:
                    one.ask()
                tasks.append(asyncio.create_task(one.watch()))
                busy = one.keep_asking(1) if "idle" not in kind and "gRPC" not in kind else asyncio.sleep(0)
            elif kind.startswith("WebSocket"):
                one = await WebSocket.open(envoy)
                await one.upgrade()
                tasks.append(asyncio.create_task(one.watch()))
                busy = one.say(FRAME, 0.5)
            elif kind.startswith("TCP"):
                one = await Connection.open(envoy, "tcp")
                tasks.append(asyncio.create_task(one.watch()))
                busy = one.say(b"hello", 0.5)
            else:
                one = await Http1.open(envoy)
                await one.send("/stream/25")
                busy = one.watch()
            tasks.append(asyncio.create_task(busy))
            connections.append(one)
        kinds.append(connections)
    return kinds, tasks


def closing(title, drain_time, wait, timeout=None, flags=()):
    rows = [f"{kind}: asked to leave" for kind in KINDS]

    @measures(title, *rows, "server-sent events and gRPC: streams that were not cut")
    async def experiment(start):
        manager = {"drain_timeout": timeout} if timeout else None
        async with start("--drain-time-s", str(drain_time), *flags, manager=manager) as envoy:
            kinds, tasks = await connect(envoy)
            await asyncio.sleep(2)
            began = time.monotonic()
            await envoy.drain()
            await asyncio.sleep(wait)
            cells = [when(connections, began) for connections in kinds]
            streams = [one for connections in kinds[-2:] for one in connections]
            await until(lambda: all(one.is_whole or one.ended for one in streams), 60)
            whole = sum(one.is_whole for one in streams)
            for task in tasks:
                task.cancel()
            return *cells, f"{whole} of {len(streams)}"


closing("A drain of 20 s with `--drain-time-s 600`, the default", 600, 20)
closing("A drain of 20 s with `--drain-time-s 18`", 18, 20)
closing("A drain of 20 s with `--drain-time-s 14`, less than three times `drain_timeout` (5 s)", 14, 20)
closing("A drain of 10 s with `--drain-time-s 6` and `drain_timeout: 1s`", 6, 10, "1s")
immediate = ("--drain-strategy", "immediate")
closing("A drain of 20 s with `--drain-time-s 18` and `--drain-strategy immediate`", 18, 20, flags=immediate)
