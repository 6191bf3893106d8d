import os

from celery import Celery
from job import work

app = Celery("app", broker=os.environ["BROKER"])
app.conf.task_acks_late = bool(os.environ.get("LATE"))
app.conf.task_reject_on_worker_lost = app.conf.task_acks_late
app.conf.worker_prefetch_multiplier = 1
app.conf.worker_concurrency = 8
app.conf.broker_connection_retry_on_startup = True
app.conf.broker_transport_options = {"visibility_timeout": 20, "unacked_restore_throttle": 1} if "redis" in os.environ["BROKER"] else {}


@app.task
def job(number, seconds):
    work(number, seconds)


def send(jobs):
    for one in jobs:
        job.delay(*one)
