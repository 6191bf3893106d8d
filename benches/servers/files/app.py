"""A WSGI app, an ASGI app and an aiohttp app that answer after the number of seconds in the path."""

import asyncio
import time


def seconds(path):
    return float(path.strip("/") or 0)


def wsgi(environ, start_response):
    time.sleep(seconds(environ["PATH_INFO"]))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


application = wsgi


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"].removeprefix("lifespan.")
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return
    await asyncio.sleep(seconds(scope["path"]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def aiohttp(argv):
    from aiohttp import web

    async def answer(request):
        await asyncio.sleep(seconds(request.path))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/{seconds}", answer)
    return app
