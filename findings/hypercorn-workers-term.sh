#!/usr/bin/env bash
# Hypercorn 0.18.0 with `--workers 2`: SIGTERM cuts the request of a busy worker as soon as an idle one has ended.
#
# hypercorn.readthedocs.io, How to configure: `graceful_timeout` is the "time to wait after SIGTERM or Ctrl-C for any remaining
# requests (tasks) to complete", 3 s by default. Expected: with any number of workers, a request that needs 1.5 s more is
# answered. The first worker that has nothing to do ends, and the main process then ends all others with SIGTERM.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi hypercorn==0.18.0
port=$(free_port)
cat >"$place/app.py" <<'END'
import asyncio


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    await asyncio.sleep(float(scope["path"].strip("/")))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
END
cd "$place"
# The answer to a request of 2.5 s, if the server gets SIGTERM after one second.
answer() {
    start "$1" venv/bin/hypercorn --workers "$1" -b "127.0.0.1:$port" app:asgi
    until_ok curl -sf "http://127.0.0.1:$port/0"
    curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/2.5" >answer &
    sleep 1
    kill -TERM "$(program)"
    wait $! || true
    cat answer
    until_ok eval "! kill -0 $(last)"
}
one=$(answer 1)
two=$(answer 2)
seen "one worker: 200, two workers: 000" "one worker: $one, two workers: $two"
