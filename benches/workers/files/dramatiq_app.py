import os

import dramatiq
from job import work

if "redis" in os.environ["BROKER"]:
    from dramatiq.brokers.redis import RedisBroker

    # By default, one of 1,000 commands looks for what killed workers had fetched, so that may take minutes.
    broker = RedisBroker(url=os.environ["BROKER"], maintenance_chance=1_000_000)
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=os.environ["BROKER"])
dramatiq.set_broker(broker)


@dramatiq.actor
def job(number, seconds):
    work(number, seconds)


def send(jobs):
    for one in jobs:
        job.send(*one)
