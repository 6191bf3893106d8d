import asyncio
import os

from arq import create_pool
from arq.connections import RedisSettings
from job import work_async

SETTINGS = RedisSettings.from_dsn(os.environ["BROKER"])


async def job(_, number, seconds):
    await work_async(number, seconds)


class Worker:
    functions, redis_settings, max_jobs = [job], SETTINGS, 8
    job_timeout = 10
    job_completion_wait = 5
    max_tries = 100


def send(jobs):
    async def enqueue():
        pool = await create_pool(SETTINGS)
        for one in jobs:
            await pool.enqueue_job("job", *one)

    asyncio.run(enqueue())
