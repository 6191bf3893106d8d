"""Celery's jobs of up to 2 s, 10 a second: `jobs.py FILE` sends them until the file exists, and prints their number.

A file in /jobs/done says that a job is done.
"""

import pathlib
import sys
import time

from celery import Celery

app = Celery("jobs", broker="redis://10.96.0.79")
app.conf.broker_connection_retry_on_startup = True


@app.task
def job(number):
    time.sleep(0.2 + number % 10 * 0.2)
    pathlib.Path("/jobs/done", str(number)).touch()


def main():
    number = 0
    while not pathlib.Path(sys.argv[1]).exists():
        job.delay(number)
        number += 1
        time.sleep(0.1)
    print(number)


if __name__ == "__main__":
    main()
