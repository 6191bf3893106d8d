"""A server of streams for uvicorn, with the shape of vLLM's: server-sent events, one token a second.

`GET /chat?seconds=N` streams for N seconds. The last event is `data: [DONE]`: a stream without it was cut.
"""

import asyncio
import urllib.parse


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    query = urllib.parse.parse_qs(scope["query_string"].decode())
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(int(query.get("seconds", ["0"])[0])):
        await send({"type": "http.response.body", "body": b"data: token\n\n", "more_body": True})
        await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
