"""An agent for uvicorn whose turns outlive the requests that begin them: no connection and no queue knows of a turn.

`POST /turns?seconds=N` is answered at once, and its turn takes N seconds. `GET /turns` is for the drain: 204 if no
turn runs.
"""

import asyncio
import urllib.parse

turns = set()  # the turns that run


def begin(work):
    turn = asyncio.create_task(work)
    turns.add(turn)
    turn.add_done_callback(turns.discard)


async def think(seconds):
    print("a turn begins", flush=True)
    await asyncio.sleep(seconds)  # calls a model and tools
    print("a turn is done", flush=True)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status = 503 if turns else 204
    if scope["method"] == "POST":
        query = urllib.parse.parse_qs(scope["query_string"].decode())
        begin(think(float(query["seconds"][0])))
        status = 202
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body"})
