"""A server with asyncio that can be replaced under traffic, on the socket of sd_listen_fds(3).

After SIGTERM the server accepts no more, and closes each connection with its next answer. It closes
an idle connection only after IDLE seconds, because a request may already be on its way.
"""

import asyncio
import signal
import socket

IDLE = 5  # seconds; clients should close their idle connections sooner

stopping = asyncio.Event()


async def answer(reader, writer):
    """Answers one request; returns whether the connection stays open."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE)
    except (asyncio.IncompleteReadError, asyncio.TimeoutError):
        return False
    await asyncio.sleep(0.01)
    is_last = stopping.is_set() or b"\r\nconnection: close\r\n" in head.lower()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n")
    writer.write(b"Connection: close\r\n\r\nhello\n" if is_last else b"\r\nhello\n")
    await writer.drain()
    return not is_last


async def serve(reader, writer):
    connections.add(asyncio.current_task())
    try:
        while await answer(reader, writer):
            pass
    except ConnectionError:
        pass  # the client did not wait for its answer
    finally:
        writer.close()
        connections.discard(asyncio.current_task())


connections = set()


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    listener = socket.socket(fileno=3)
    server = await asyncio.start_server(serve, sock=listener)
    print("serving", flush=True)
    await stopping.wait()
    # close() resets connections that the kernel has just accepted (https://github.com/python/cpython/issues/109564).
    # The server therefore waits a few turns of the loop, until the tasks of these connections have begun.
    asyncio.get_running_loop().remove_reader(listener)
    for _ in range(10):
        await asyncio.sleep(0)
    server.close()
    while connections:
        await asyncio.wait(connections)


asyncio.run(main())
