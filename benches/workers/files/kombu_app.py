"""A consumer with kombu: SIGTERM ends the consuming after the job that runs."""

import os
import signal
import socket

from job import work
from kombu import Connection, Queue
from kombu.mixins import ConsumerMixin


class Consumer(ConsumerMixin):
    def __init__(self, connection):
        self.connection = connection
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_):
        self.should_stop = True

    def get_consumers(self, consumer, channel):
        return [consumer(Queue("jobs"), callbacks=[self.job], prefetch_count=1)]

    def job(self, body, message):
        if not self.should_stop:
            work(*body)
            message.ack()


def send(jobs):
    with Connection(os.environ["BROKER"]) as connection:
        queue = connection.SimpleQueue("jobs")
        for one in jobs:
            queue.put(list(one))


if __name__ == "__main__":
    with Connection(os.environ["BROKER"]) as connection:
        Consumer(connection).run()
