import asyncio

from fastmcp import FastMCP
from starlette.responses import PlainTextResponse

mcp = FastMCP("a")


@mcp.custom_route("/{seconds}", methods=["GET"])
async def answer(request):
    await asyncio.sleep(float(request.path_params["seconds"]))
    return PlainTextResponse("ok")
