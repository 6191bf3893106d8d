#!/usr/bin/env bash
# uvicorn --workers: a SIGTERM during SIGHUP's reload is not seen, and new requests are served on, until a request ends.
#
# uvicorn's docs, Deployment, Built-in: with SIGHUP, worker processes "are graceful restarted one after another".
# Expected: SIGTERM ends the server as it does without a reload, so the workers take no new requests, and only those in
# flight are awaited. But the parent waits inside the reload for the old worker, and looks at no other signal. A long
# request or stream on an old worker so hides the stop from all workers, and the grace period of a container runs out.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi uvicorn==0.54.0
"$place/venv/bin/uvicorn" --version
cat >"$place/app.py" <<'END'
import asyncio, os


async def app(scope, receive, send):
    assert scope["type"] == "http"
    seconds = float(scope["query_string"])
    if seconds:
        print(f"begun in {os.getpid()}", flush=True)
    await asyncio.sleep(seconds)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"ok"})
END

# What becomes of a new request, 2 s after SIGTERM, while an older request still runs.
new_request() {
    local port
    port=$(free_port)
    start "$1" "$place/venv/bin/uvicorn" app:app --app-dir "$place" --lifespan off --workers 2 --port "$port"
    until_ok curl -sf --max-time 5 "http://127.0.0.1:$port/?0"
    curl -sf --max-time 60 "http://127.0.0.1:$port/?25" >"$place/slow-$1" &
    local slow=$!
    until_ok grep -q "begun in" "$place/$1.log"
    if [ "$1" = reload ]; then
        kill -HUP "$(program)"
        # The new workers are ready, and the old one with the request is awaited.
        until_ok grep -q "Waiting for child process .$(grep -oP 'begun in \K.*' "$place/$1.log")" "$place/$1.log"
    fi
    kill -TERM "$(program)"
    sleep 2
    curl -sf --max-time 3 "http://127.0.0.1:$port/?0" >/dev/null && echo answered || echo "not answered"
    grep -q "Received SIGTERM" "$place/$1.log" && echo "SIGTERM seen" || echo "SIGTERM not seen"
    wait $slow || echo "the request in flight was cut"
    until_ok grep -q "Received SIGTERM" "$place/$1.log"
}
plain=$(new_request plain | paste -sd,)
reload=$(new_request reload | paste -sd,)
seen "alone: not answered,SIGTERM seen; in a reload: answered,SIGTERM not seen" "alone: $plain; in a reload: $reload"
