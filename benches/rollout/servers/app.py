"""An app for uvicorn: answers /upstream/slow/N after N milliseconds, and every other path after 20."""

import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    last = scope["path"].rsplit("/", 1)[-1]
    await asyncio.sleep(int(last or 20) / 1000)
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]}
    await send(head)
    await send({"type": "http.response.body", "body": b"hello\n"})
