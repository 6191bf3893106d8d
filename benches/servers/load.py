"""Clients of HTTP/1.1 that keep connections, and what happens to their requests."""

import asyncio
import random
import re
import time

KEPT, NEW_EACH, PAUSE = 20, 0.05, 0.5
# Seconds after the signal in which new connections still arrive. Then all know that the endpoint is gone.
ARRIVES = 1.0
SHORT, LONG = 0.05, 3
# A request without an answer after so many seconds has failed.
PATIENCE = 25


async def receive(reader):
    """The status of an answer, and whether the server keeps the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split()[1])
    if "transfer-encoding: chunked" in head:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    elif length := re.search(r"content-length: *(\d+)", head):
        await reader.readexactly(int(length[1]))
    else:
        await reader.read()
        return status, False
    return status, not re.search(r"^connection: *close|^http/1\.0", head, re.M)


class Load:
    """20 clients with kept connections, a new connection each 50 ms, and one long request. `looks`: whether a client
    sees that its idle connection was closed, before it sends the next request. `request(seconds)` makes a request whose
    answer takes so long, or returns None if the server has none."""

    def __init__(self, port, request, looks):
        self.port, self.request, self.looks = port, request, looks
        self.signalled, self.over = None, False
        self.answered = self.failed = self.early = 0
        self.long, self.why = None, {}

    def arrives(self):
        """Whether new connections still come to this server."""
        return not self.over and (self.signalled is None or time.monotonic() < self.signalled + ARRIVES)

    def count(self, result):
        """Counts a result after the signal: a status, or the name of an error."""
        if result != 200:
            self.why[result] = self.why.get(result, 0) + 1
        if self.signalled is None:
            self.early += result != 200
        elif result == 200:
            self.answered += 1
        else:
            self.failed += 1

    async def connect(self):
        """A connection, or the name of the error."""
        try:
            return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), PATIENCE)
        except (OSError, asyncio.TimeoutError) as error:
            return type(error).__name__

    async def once(self, stream, seconds):
        """Sends a request: the result, and whether the connection can be used again."""
        if isinstance(stream, str):
            self.count(stream)
            return stream, False
        reader, writer = stream
        stays = False
        try:
            writer.write(self.request(seconds))
            result, stays = await asyncio.wait_for(receive(reader), PATIENCE)
        except (OSError, EOFError, ValueError, IndexError, asyncio.TimeoutError) as error:
            result = type(error).__name__
        self.count(result)
        if not stays:
            writer.close()
        return result, stays

    async def kept(self, number):
        stream = None
        await asyncio.sleep(PAUSE * number / KEPT)
        while not self.over:
            if stream and self.looks:
                await asyncio.sleep(0)
                if stream[0].at_eof() or stream[0].exception():
                    stream[1].close()
                    stream = None
            if stream is None:
                if not self.arrives():
                    return
                stream = await self.connect()
            _, stays = await self.once(stream, SHORT)
            stream = stream if stays else None
            # Otherwise, clients that had to wait together would send together from then on.
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))
        if stream:
            stream[1].close()

    async def new(self):
        stream = await self.connect()
        _, stays = await self.once(stream, SHORT)
        if stays:
            stream[1].close()

    async def each_new(self):
        async with asyncio.TaskGroup() as group:
            while self.arrives():
                group.create_task(self.new())
                await asyncio.sleep(NEW_EACH)

    async def slow(self):
        """The request that is in flight at the signal: `answered`, the status of another answer, or `cut`."""
        result, _ = await self.once(await self.connect(), LONG)
        self.long = {200: "answered"}.get(result, result if isinstance(result, int) else "cut")
