#!/usr/bin/env bash
# nats-py: drain() waits for no message that `async for` works on, and its answer is refused. With `cb`, it does.
#
# docs.nats.io, Draining Messages Before Disconnect: "it will process any inflight and cached/pending messages before
# closing". Expected: a service that calls drain() at SIGTERM answers what it has received, in both README styles.
# With `async for`, a message counts as done when it is handed out, so the connection closes during the work, and
# the requester gets no answer.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian nats-server=2.9.10-1+b3
unset LD_LIBRARY_PATH
pypi nats-py==2.16.0
"$place/venv/bin/pip" list 2>/dev/null | grep nats
port=$(free_port)
start server "$place/root/usr/sbin/nats-server" -a 127.0.0.1 -p "$port"
until_ok grep -q "Server is ready" "$place/server.log"
cat >"$place/service.py" <<'END'
import asyncio, signal, sys
import nats


async def work(message):
    print("begun", flush=True)
    await asyncio.sleep(3)
    await message.respond(b"answer")


async def main():
    client, stop = await nats.connect(sys.argv[2]), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    loop = None
    if sys.argv[1] == "callback":
        await client.subscribe("callback", cb=work)
    else:
        subscription = await client.subscribe("iterator")

        async def iterate():
            async for message in subscription.messages:
                await work(message)
        loop = asyncio.create_task(iterate())
    await client.flush()
    print("ready", flush=True)
    await stop.wait()
    await client.drain()
    print("drained", flush=True)
    if loop:
        await loop


asyncio.run(main())
END
cat >"$place/ask.py" <<'END'
import asyncio, sys
import nats


async def main():
    client = await nats.connect(sys.argv[2])
    try:
        print((await client.request(sys.argv[1], b"", timeout=15)).data.decode())
    except nats.errors.TimeoutError:
        print("nothing")
    await client.close()


asyncio.run(main())
END

# What the requester gets if the service gets SIGTERM while it works.
answer_of() {
    start "$1" "$place/venv/bin/python" "$place/service.py" "$1" "nats://127.0.0.1:$port"
    until_ok grep -q ready "$place/$1.log"
    "$place/venv/bin/python" "$place/ask.py" "$1" "nats://127.0.0.1:$port" >"$place/answer-$1" &
    local asker=$!
    until_ok grep -q begun "$place/$1.log"
    kill -TERM "$(program)"
    wait $asker
    paste -sd, "$place/answer-$1"
    grep -o "ConnectionClosedError" "$place/$1.log" | head -n 1 || true
}
callback=$(answer_of callback | paste -sd,)
iterator=$(answer_of iterator | paste -sd,)
seen "the requester gets: answer with cb; nothing,ConnectionClosedError with async for" \
    "the requester gets: $callback with cb; $iterator with async for"
