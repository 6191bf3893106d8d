import os

from job import work
from redis import Redis
from rq import Queue


def send(jobs):
    queue = Queue(connection=Redis.from_url(os.environ["BROKER"]))
    for one in jobs:
        queue.enqueue(work, *one)
