#!/usr/bin/env bash
# Celery's pools `gevent` and `eventlet` begin one more task after SIGTERM, so a warm shutdown takes two tasks' time.
#
# docs.celeryq.dev, Workers Guide, Stopping the worker: "When shutdown is initiated the worker will finish all currently
# executing tasks before it actually terminates." Expected: no task begins after the signal, as with `prefork`. If all
# slots are busy, the worker waits for a slot for a task that it has taken already, and begins it when one is free: seconds
# after the signal. A time limit for the stop that fits one task kills this one.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian_redis
pypi 'celery[redis]==5.7.0' 'kombu[redis]==5.7.0' gevent==26.9.0 eventlet==0.41.3
"$place/venv/bin/celery" --version
start_redis
cat >"$place/app.py" <<'END'
import os, time
from celery import Celery

app = Celery("app", broker=os.environ["BROKER"])


@app.task
def job(number):
    print(f"begun {number}", flush=True)
    time.sleep(3)
END
cd "$place"

# The tasks that begin after the signal, of 12 with 4 at once.
begun_late() {
    ask flushall >/dev/null
    start "$1" venv/bin/celery -A app worker --pool "$1" --concurrency 4 --loglevel INFO
    until_ok grep -q "ready\." "$1.log"
    venv/bin/python -c 'import app; [app.job.delay(number) for number in range(12)]' >/dev/null
    until_ok eval "[ \$(grep -c begun $1.log) -ge 4 ]"
    kill -TERM "$(program)"
    until_ok eval "! kill -0 $(last)"
    echo $(($(grep -c begun "$1.log") - 4))
}
seen "begun after the signal: prefork 0, gevent 1, eventlet 1" \
    "begun after the signal: prefork $(begun_late prefork), gevent $(begun_late gevent), eventlet $(begun_late eventlet)"
