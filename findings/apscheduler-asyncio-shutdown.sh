#!/usr/bin/env bash
# APScheduler's AsyncIOScheduler: shutdown(wait=True) waits for no coroutine, and cancels the jobs that run.
#
# apscheduler.readthedocs.io, AsyncIOScheduler.shutdown(wait=True): "Does not interrupt any currently running jobs", and
# wait is "True to wait until all currently executing jobs have finished". Expected: a handler of SIGTERM that calls it
# loses no job, as with BackgroundScheduler, which has the same words. A job that was due once is gone from the store:
# nobody runs it again.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi APScheduler==3.11.3
"$place/venv/bin/pip" list 2>/dev/null | grep -i apscheduler
cat >"$place/app.py" <<'END'
import asyncio, signal, sys, time
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler


async def coroutine():
    print("begun", flush=True)
    await asyncio.sleep(3)
    print("job ended", flush=True)


def function():
    print("begun", flush=True)
    time.sleep(3)
    print("job ended", flush=True)


async def with_asyncio():
    scheduler, stop = AsyncIOScheduler(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    scheduler.start()
    scheduler.add_job(coroutine)
    await stop.wait()
    scheduler.shutdown(wait=True)
    # Long enough for the job, if it still runs.
    await asyncio.sleep(6)


def with_threads():
    scheduler = BackgroundScheduler()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    scheduler.start()
    scheduler.add_job(function)
    signal.sigwait([signal.SIGTERM])
    scheduler.shutdown(wait=True)


asyncio.run(with_asyncio()) if sys.argv[1] == "asyncio" else with_threads()
print("over", flush=True)
END

# What became of a job that ran at SIGTERM.
job_with() {
    start "$1" "$place/venv/bin/python" "$place/app.py" "$1"
    until_ok grep -q begun "$place/$1.log"
    kill -TERM "$(program)"
    until_ok grep -q over "$place/$1.log"
    grep -o "job ended\|CancelledError" "$place/$1.log" | tail -n 1
}
threads=$(job_with threads)
coroutine=$(job_with asyncio)
seen "BackgroundScheduler: job ended, AsyncIOScheduler: CancelledError" \
    "BackgroundScheduler: $threads, AsyncIOScheduler: $coroutine"
