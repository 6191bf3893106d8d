"""Celery's jobs of 0.1 to 8 s, five a second: `jobs.py FILE` sends them until the file exists, and prints their number.

A file in /jobs/done has a line for each time that a job was done.
"""

import pathlib
import sys
import time

from celery import Celery

app = Celery("jobs", broker="redis://10.96.0.79")
app.conf.broker_connection_retry_on_startup = True


@app.task
def job(number):
    time.sleep(0.1 * 80 ** (number % 10 / 9))
    with open(f"/jobs/done/{number}", "a") as done:
        print("done", file=done)


def main():
    number = 0
    while not pathlib.Path(sys.argv[1]).exists():
        job.delay(number)
        number += 1
        time.sleep(0.2)
    print(number)


if __name__ == "__main__":
    main()
