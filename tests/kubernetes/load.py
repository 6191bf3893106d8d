#!/usr/bin/env python3
"""Sends requests until a file exists: load.py HOST:PORT FILE [DELAY_MS]

40 keep-alive clients send a request a second each. 10 clients send 5 requests a second each, and open a new connection
for each request. An answer takes DELAY_MS (500). No client repeats a request. The clients honour `Connection: close`.
Like blocking clients, they notice that an idle connection was closed when they use it. Prints JSON: for each kind the
requests and the failures.
"""

import asyncio
import collections
import json
import os
import random
import sys
import time

HOST, PORT = sys.argv[1].rsplit(":", 1)
END = sys.argv[2]
DELAY = int(sys.argv[3]) if len(sys.argv) > 3 else 500
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 10, 30


async def ask(reader, writer, delay):
    """Returns the status, and whether the connection is to be closed."""
    wait = f"x-envoy-fault-delay-request: {delay}\r\n" if delay else ""
    writer.write(f"GET / HTTP/1.1\r\nHost: gateway\r\n{wait}\r\n".encode())
    await writer.drain()
    status = await reader.readline()
    if not status:
        raise EOFError
    headers = {}
    while (line := await reader.readline()) != b"\r\n":
        if not line:
            raise EOFError
        name, value = line.decode().split(":", 1)
        headers[name.lower()] = value.strip().lower()
    await reader.readexactly(int(headers.get("content-length", 0)))
    return int(status.split()[1]), "close" in headers.get("connection", "")


def name(error):
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    if isinstance(error, (EOFError, asyncio.IncompleteReadError)):
        return "closed without an answer"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "timeout"
    return f"{type(error).__name__}: {error}"


async def client(counts, rate, delay, is_fresh):
    connection = None
    due = time.time() + random.random() / rate
    while not os.path.exists(END):
        await asyncio.sleep(max(0, due - time.time()))
        try:
            if connection is None:
                opening = asyncio.open_connection(HOST, int(PORT))
                connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT)
            status, closes = await asyncio.wait_for(ask(*connection, delay), ANSWER_TIMEOUT)
            counts["requests"] += 1
            if status != 200:
                counts[f"status {status}"] += 1
            is_over = closes or is_fresh
        except Exception as error:
            counts["requests"] += 1
            counts[name(error) if connection else f"no connection: {name(error)}"] += 1
            is_over = True
        if is_over and connection:
            connection[1].close()
            connection = None
        due = max(due + 1 / rate, time.time())


async def main():
    kept, fresh = collections.Counter(), collections.Counter()
    clients = [client(kept, 1, DELAY, False) for _ in range(40)]
    clients += [client(fresh, 5, 0, True) for _ in range(10)]
    await asyncio.gather(*clients)
    print(json.dumps({"keep-alive": kept, "new connection": fresh}), flush=True)


asyncio.run(main())
