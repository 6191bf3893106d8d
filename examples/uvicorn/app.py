"""An app for uvicorn that knows nothing of a drain. `GET /N` is answered after N milliseconds."""

import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    text = scope["path"].strip("/")
    await asyncio.sleep(int(text) / 1000 if text.isdigit() else 0.1)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
