import asyncio
import sys

import gradio

with gradio.Blocks() as blocks:
    gradio.Markdown("ok")
app, _, _ = blocks.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), prevent_thread_lock=True, quiet=True)


async def answer(seconds: float):
    await asyncio.sleep(seconds)
    return "ok"


app.add_api_route("/wait/{seconds}", answer)
app.router.routes.insert(0, app.router.routes.pop())
blocks.block_thread()
