#!/usr/bin/env bash
# RQ: a worker that gets SIGTERM between a job and the next one can exit with 0, and the fetched job never runs.
#
# python-rq.org, Workers: at SIGTERM "the worker will wait until the currently running task is finished, stop the work
# loop and gracefully register its own death". Expected: a job that the worker has not begun stays in the queue for the
# next worker. In fact a worker that has fetched a job, and logged it, but has not begun it yet, ends at once. The job
# stays in the intermediate queue, from which RQ moves it a minute later to the failed jobs: "stuck in intermediate
# queue". The signal hits this moment in one of some twenty stops, so the script stops up to 80 workers.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian_redis
pypi rq==3.0.0
"$place/venv/bin/rq" --version
start_redis
cat >"$place/jobs.py" <<'END'
import os
from redis import Redis
from rq import Queue


def job(number):
    open(f"begun-{number}", "w").close()


def send(jobs):
    queue = Queue(connection=Redis.from_url(os.environ["BROKER"]))
    for number in range(jobs):
        queue.enqueue(job, number)
END
cd "$place"
export PYTHONPATH=$place
venv/bin/python -c 'import jobs; jobs.send(4000)'

seen_now="no job is left there after 80 stops"
for stop in $(seq 80); do
    venv/bin/rq worker --url "$BROKER" >worker.log 2>&1 &
    worker=$!
    echo "$worker" >>"$place/pids"
    begun=$(find . -name 'begun-*' | wc -l)
    until_ok sh -c "[ \$(find . -name 'begun-*' | wc -l) -gt $((begun + stop % 5)) ]"
    kill -TERM "$worker"
    wait "$worker" && code=0 || code=$?
    if [ "$(ask llen rq:queue:default:intermediate)" != 0 ]; then
        echo "at stop $stop"
        seen_now="code $code, a job is left in the intermediate queue"
        break
    fi
done
seen "code 0, a job is left in the intermediate queue" "$seen_now"
