#!/usr/bin/env bash
# aio-pika: a worker that cancels its job at SIGTERM loses it. A worker that is killed does not.
#
# docs.aio-pika.com, IncomingMessage.process: a context in which a message is acknowledged, and "when exception will be
# raised the message will be rejected". rabbitmq.com, Consumer Acknowledgements: deliveries without an acknowledgement
# are "automatically requeued" when the connection closes. Expected: a stop is no fault of the message, so a job that is
# cut by it runs again, whether asyncio cancels it or SIGKILL ends the worker. In fact the cancellation rejects the
# message without a requeue, and RabbitMQ drops it. Only process(requeue=True) or an own ack() gives it back.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian rabbitmq-server=3.10.8-1.1+deb12u1 erlang-{base,crypto,eldap,inets,mnesia,os-mon,parsetools,public-key} \
    erlang-{runtime-tools,ssl,syntax-tools,tools,xmerl,asn1}
unset LD_LIBRARY_PATH
pypi aio-pika==10.2.1
"$place/venv/bin/pip" list 2>/dev/null | grep aio-pika
port=$(free_port)
# Erlang without its installation.
mkdir "$place/bin"
cat >"$place/bin/erl" <<END
#!/bin/sh
export ROOTDIR="$place/root/usr/lib/erlang" EMU=beam PROGNAME=erl
export BINDIR="\$(echo "\$ROOTDIR"/erts-*/bin)"
exec "\$BINDIR/erlexec" "\$@"
END
cat >"$place/broker" <<END
#!/bin/sh
export PATH="$place/bin:\$PATH" HOME="$place" RABBITMQ_NODENAME=broker@localhost
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$(free_port)
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$(free_port)
export RABBITMQ_MNESIA_BASE="$place" RABBITMQ_LOG_BASE="$place" RABBITMQ_PID_FILE="$place/rabbitmq.pid"
export RABBITMQ_CONFIG_FILE="$place/none" RABBITMQ_ENABLED_PLUGINS_FILE="$place/plugins"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
"$place"/root/usr/lib/erlang/erts-*/bin/epmd -daemon
exec "$place"/root/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server
END
chmod +x "$place/bin/erl" "$place/broker"
cat >"$place/app.py" <<'END'
import asyncio, signal, sys
import aio_pika


async def work(queue, how):
    async with queue.iterator() as messages:
        async for message in messages:
            if how == "ack":
                print("begun", flush=True)
                await asyncio.sleep(30)
                await message.ack()
                continue
            async with message.process(requeue=how == "requeue"):
                print("begun", flush=True)
                await asyncio.sleep(30)


async def main(address, queue_name, what):
    async with await aio_pika.connect(address) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(queue_name, durable=True)
        if what == "put":
            await channel.default_exchange.publish(aio_pika.Message(b"job"), routing_key=queue_name)
        elif what == "count":
            print(queue.declaration_result.message_count)
        else:
            task = asyncio.create_task(work(queue, what))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            await asyncio.wait([task])


asyncio.run(main(*sys.argv[1:]))
END
client() { timeout 30 "$place/venv/bin/python" "$place/app.py" "amqp://guest:guest@127.0.0.1:$port/" "$@"; }
start broker "$place/broker"
until_ok client none count

# The jobs that the queue has, after a worker has got a signal during its only job.
left_after() {
    local queue="$1-$2"
    client "$queue" put
    start "$queue" "$place/venv/bin/python" "$place/app.py" "amqp://guest:guest@127.0.0.1:$port/" "$queue" "$1"
    until_ok grep -q begun "$place/$queue.log"
    local worker
    worker=$(last)
    kill "-$2" "$(program)"
    until_ok test ! -e "/proc/$worker/exe"
    sleep 1
    client "$queue" count
}
now="ack() $(left_after ack TERM), process() $(left_after process TERM), process(requeue=True) $(left_after requeue TERM)"
now="jobs left after SIGTERM: $now; after SIGKILL: process() $(left_after process KILL)"
seen "jobs left after SIGTERM: ack() 1, process() 0, process(requeue=True) 1; after SIGKILL: process() 1" "$now"
