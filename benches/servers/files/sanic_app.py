import asyncio

from sanic import Sanic, text

app = Sanic("app")


@app.get("/<seconds:float>")
async def answer(request, seconds):
    await asyncio.sleep(seconds)
    return text("ok")
