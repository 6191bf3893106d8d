#!/usr/bin/env bash
# SAQ: at SIGTERM a job that is a plain function is awaited to its end, and yet is queued again, so it runs twice.
#
# saq-py.readthedocs.io, Worker: shutdown_grace_period_s is "how long to wait for jobs to finish before sending
# cancellation signals" (unset: none), cancellation_hard_deadline_s "how long to wait for a job to finish after sending
# a cancellation signal" (1 s). Expected: at SIGTERM a job either is cancelled and runs again, as a coroutine does, or
# is finished. A function runs in a thread and cannot be cancelled: the worker gives the job back, and then waits for
# it, far beyond the deadline.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian_redis
# SAQ imports typing_extensions, without asking for it.
pypi 'saq[redis]==0.26.4' typing_extensions==4.15.0
"$place/venv/bin/pip" list 2>/dev/null | grep -i saq
start_redis
cat >"$place/app.py" <<'END'
import asyncio, os, sys, time
from saq import Queue

queue = Queue.from_url(os.environ["BROKER"])


def function(context):
    print("begun", flush=True)
    time.sleep(6)
    print("ended", flush=True)


async def coroutine(context):
    print("begun", flush=True)
    await asyncio.sleep(6)
    print("ended", flush=True)


settings = {"queue": queue, "functions": [function, coroutine], "concurrency": 1}


async def put(name):
    await queue.connect()
    await queue.enqueue(name, timeout=60)


if __name__ == "__main__":
    asyncio.run(put(sys.argv[1]))
END
cd "$place"

# What the worker that gets SIGTERM does with its job, and what the next one does.
runs_of() {
    start "$1-first" venv/bin/python venv/bin/saq app.settings
    venv/bin/python app.py "$1"
    until_ok grep -q begun "$1-first.log"
    local worker
    worker=$(last)
    kill -TERM "$(program)"
    until_ok test ! -e "/proc/$worker/exe"
    start "$1-second" venv/bin/python venv/bin/saq app.settings
    until_ok grep -q ended "$1-second.log"
    kill -TERM "$(program)"
    echo "$(grep -x 'begun\|ended' "$1-first.log" | paste -sd' '), again: $(grep -x 'begun\|ended' "$1-second.log" |
        paste -sd' ')"
}
coroutine=$(runs_of coroutine)
function=$(runs_of function)
seen "coroutine: begun, again: begun ended; function: begun ended, again: begun ended" \
    "coroutine: $coroutine; function: $function"
