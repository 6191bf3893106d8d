import os

import procrastinate
from job import work_async

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BROKER"]))


@app.task(name="job")
async def job(number, seconds):
    await work_async(number, seconds)


def send(jobs):
    with app.open():
        for number, seconds in jobs:
            app.configure_task("job").defer(number=number, seconds=seconds)
