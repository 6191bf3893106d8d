import asyncio
import os

from job import work_async
from taskiq_redis import ListQueueBroker

broker = ListQueueBroker(os.environ["BROKER"])


@broker.task
async def job(number: int, seconds: float) -> None:
    await work_async(number, seconds)


def send(jobs):
    async def enqueue():
        await broker.startup()
        for one in jobs:
            await job.kiq(*one)
        await broker.shutdown()

    asyncio.run(enqueue())
