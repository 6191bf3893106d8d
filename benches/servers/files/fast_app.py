import asyncio

from fastapi import FastAPI

app = FastAPI()


@app.get("/{seconds}")
async def answer(seconds: float):
    await asyncio.sleep(seconds)
    return "ok"
