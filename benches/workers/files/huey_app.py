import os

from huey import RedisHuey
from job import work

huey = RedisHuey("app", url=os.environ["BROKER"])


@huey.task()
def job(number, seconds):
    work(number, seconds)


def send(jobs):
    for one in jobs:
        job(*one)
