"""A consumer with pika: SIGTERM ends the consuming after the job that runs."""

import json
import os
import signal

import pika
from job import work


def connect():
    channel = pika.BlockingConnection(pika.URLParameters(os.environ["BROKER"])).channel()
    channel.queue_declare("jobs", durable=True)
    return channel


def send(jobs):
    channel = connect()
    for one in jobs:
        channel.basic_publish("", "jobs", json.dumps(one))


def main():
    channel, asked = connect(), []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    channel.basic_qos(prefetch_count=1)
    for method, _, body in channel.consume("jobs", inactivity_timeout=0.2):
        if method and not asked:
            work(*json.loads(body))
            channel.basic_ack(method.delivery_tag)
        if asked:
            break
    channel.connection.close()


if __name__ == "__main__":
    main()
