#!/usr/bin/env bash
# Celery's pool `threads`: in a warm shutdown, a task that has ended is not acknowledged until all others have ended.
#
# docs.celeryq.dev, glossary: with task_acks_late, a "task is acknowledged after execution". Expected: at SIGTERM the
# worker finishes its tasks, and acknowledges each when it has ended, as the pool `prefork` does. If a supervisor then
# kills the worker while its longest task still runs, only this task runs again. With `threads`, the ended ones do, too.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian_redis
pypi 'celery[redis]==5.7.0' 'kombu[redis]==5.7.0'
"$place/venv/bin/celery" --version
start_redis
cat >"$place/app.py" <<'END'
import os, time
from celery import Celery

app = Celery("app", broker=os.environ["BROKER"])
app.conf.task_acks_late = True
app.conf.worker_prefetch_multiplier = 1


@app.task
def job(seconds):
    print(f"begun {seconds}", flush=True)
    time.sleep(seconds)
    print(f"ended {seconds}", flush=True)
END
cd "$place"

# The messages without an acknowledgement, 3 s after the first of two tasks has ended in a warm shutdown.
left_with() {
    ask flushall >/dev/null
    start "$1" venv/bin/celery -A app worker --pool "$1" --concurrency 2 --loglevel INFO
    until_ok grep -q "ready\." "$1.log"
    venv/bin/python -c 'import app; app.job.delay(4); app.job.delay(25)' >/dev/null
    until_ok grep -q "begun 4" "$1.log"
    until_ok grep -q "begun 25" "$1.log"
    kill -TERM "$(program)"
    until_ok grep -q "ended 4" "$1.log"
    sleep 3
    ask hlen unacked
    kill -KILL "$(last)"
}
prefork=$(left_with prefork)
threads=$(left_with threads)
seen "not acknowledged: 1 of 2 with prefork, 2 of 2 with threads" \
    "not acknowledged: $prefork of 2 with prefork, $threads of 2 with threads"
