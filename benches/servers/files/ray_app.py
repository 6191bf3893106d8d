"""A Ray Serve application that answers after the seconds in the path."""

import asyncio

from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=100)
class Wait:
    async def __call__(self, request: Request) -> str:
        await asyncio.sleep(float(request.url.path.strip("/") or 0))
        return "ok"


application = Wait.bind()
