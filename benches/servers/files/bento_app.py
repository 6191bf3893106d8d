import asyncio

import bentoml


@bentoml.service
class Wait:
    @bentoml.api
    async def wait(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "ok"
