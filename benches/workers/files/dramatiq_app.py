import os

import dramatiq
from job import work

if "redis" in os.environ["BROKER"]:
    from dramatiq.brokers.redis import RedisBroker as Broker
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker as Broker
dramatiq.set_broker(Broker(url=os.environ["BROKER"]))


@dramatiq.actor
def job(number, seconds):
    work(number, seconds)


def send(jobs):
    for one in jobs:
        job.send(*one)
