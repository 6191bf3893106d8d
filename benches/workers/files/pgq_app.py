import asyncio
import json
import os
from contextlib import asynccontextmanager

import asyncpg
from job import work_async
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries


async def driver():
    return AsyncpgDriver(await asyncpg.connect(os.environ["BROKER"]))


@asynccontextmanager
async def main():
    worker = PgQueuer(await driver())

    @worker.entrypoint("job", concurrency_limit=8)
    async def job(job):
        await work_async(*json.loads(job.payload))

    yield worker


def send(jobs):
    async def enqueue():
        queries = Queries(await driver())
        await queries.enqueue(["job"] * len(jobs), [json.dumps(one).encode() for one in jobs], [0] * len(jobs))

    asyncio.run(enqueue())
