"""A job that says when it begins and ends. Each run has a file of its own, whose time of change is the last moment at
which the job was alive."""

import asyncio
import os
import time

PLACE = os.environ["JOBS"]


class Run:
    def __init__(self, number):
        self.began = time.time()
        self.path = f"{PLACE}/{number}-{self.began}"
        self.write("begun")

    def write(self, word):
        with open(self.path, "a") as file:
            file.write(f"{word} {time.time()}\n")

    def pause(self, seconds):
        """The next pause, or None at the end."""
        left = self.began + seconds - time.time()
        os.utime(self.path)
        return min(left, 0.1) if left > 0 else None


def work(number, seconds):
    run = Run(number)
    while pause := run.pause(seconds):
        time.sleep(pause)
    run.write("ended")


async def work_async(number, seconds):
    run = Run(number)
    while pause := run.pause(seconds):
        await asyncio.sleep(pause)
    run.write("ended")
