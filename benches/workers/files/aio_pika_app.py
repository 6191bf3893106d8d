"""A consumer with aio-pika: SIGTERM cancels the consumer, and the jobs that run end."""

import asyncio
import json
import os
import signal

import aio_pika
from job import work_async
from pika_app import send  # noqa: F401


async def main():
    connection = await aio_pika.connect(os.environ["BROKER"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=8)
    queue = await channel.declare_queue("jobs", durable=True)
    asked, running = asyncio.Event(), set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)

    async def handle(message):
        task = asyncio.current_task()
        running.add(task)
        async with message.process():
            await work_async(*json.loads(message.body))
        running.discard(task)

    tag = await queue.consume(handle)
    await asked.wait()
    await queue.cancel(tag)
    while running:
        await asyncio.sleep(0.05)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
