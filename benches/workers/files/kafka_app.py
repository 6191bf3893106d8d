import json
import os
import signal
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from job import work

address, _, topic = os.environ["BROKER"].rpartition("/")


def send(jobs):
    producer = Producer({"bootstrap.servers": address})
    for one in jobs:
        producer.produce(topic, json.dumps(one), key=str(one[0]))
    producer.flush()


if __name__ == "__main__":
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    settings = {"auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": address, "group.id": "workers", **settings})
    # The broker makes a topic when somebody looks for it.
    Producer({"bootstrap.servers": address}).list_topics(topic)
    consumer.assign([TopicPartition(topic, int(sys.argv[1]) - 1)])
    while not asked:
        message = consumer.poll(0.2)
        if message and not message.error():
            work(*json.loads(message.value()))
            consumer.commit(message, asynchronous=False)
    consumer.close()
