#!/usr/bin/env bash
# taskiq-redis: jobs that a stopped worker has fetched from a stream wait for a new job, and not only for idle_timeout.
#
# RedisStreamBroker, docstring: "This broker supports acknowledgment of messages", with idle_timeout (10 minutes) until
# another worker claims what is not acknowledged. Expected: once that time is over, the next worker runs the jobs that
# its predecessor had fetched, up to 100, and not begun or not ended. In fact a worker claims such jobs only after it has
# received a new one, so the last jobs before a rollout wait until somebody sends another.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian_redis
pypi taskiq==0.13.0 taskiq-redis==1.2.4
"$place/venv/bin/pip" list 2>/dev/null | grep -i taskiq
start_redis
cat >"$place/app.py" <<'END'
import asyncio, os, sys
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(os.environ["BROKER"], idle_timeout=1000)


@broker.task
async def job(name: str) -> None:
    print("begun", name, flush=True)
    await asyncio.sleep(1)


async def put(names):
    await broker.startup()
    for name in names:
        await job.kiq(name)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(put(sys.argv[1:]))
END
cd "$place"
worker() { start "$1" venv/bin/taskiq worker app:broker --workers 1 --max-async-tasks 1; }

venv/bin/python app.py one two three
worker first
until_ok grep -q "begun one" first.log
first=$(last)
kill -TERM "$(program)"
until_ok test ! -e "/proc/$first/exe"
worker second
until_ok grep -q "Listening started" second.log
# Ten times the idle_timeout.
sleep 10
idle=$(grep -c begun second.log || true)
venv/bin/python app.py four
until_ok grep -q "begun three" second.log
seen "begun by the next worker within 10 s: 0; after a new job: four two three" \
    "begun by the next worker within 10 s: $idle; after a new job: $(sed -n 's/.*begun //p' second.log | paste -sd' ')"
