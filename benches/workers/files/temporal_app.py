"""A worker of Temporal, whose activities are the jobs. `send` starts a workflow for each of them."""

import asyncio
import os
import signal
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import job


@activity.defn
async def work(number: int, seconds: float) -> None:
    await job.work_async(number, seconds)


@workflow.defn
class Job:
    @workflow.run
    async def run(self, number: int, seconds: float) -> None:
        # A job that was cut runs again after the timeout.
        await workflow.execute_activity(
            work, args=[number, seconds], start_to_close_timeout=timedelta(seconds=12),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
        )


async def connected():
    """A client, and the name of the queue."""
    address, queue = os.environ["BROKER"].split("/")
    return await Client.connect(address), queue


def send(jobs):
    async def start():
        client, queue = await connected()
        for number, seconds in jobs:
            await client.start_workflow(Job.run, args=[number, seconds], id=f"{queue}-{number}", task_queue=queue)

    asyncio.run(start())


async def main():
    client, queue = await connected()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Without this time, the worker cancels its activities at once.
    minute = timedelta(minutes=1)
    async with Worker(client, task_queue=queue, workflows=[Job], activities=[work], max_concurrent_activities=8,
                      graceful_shutdown_timeout=minute):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
