#!/usr/bin/env bash
# grpcio: the event of server.stop(grace) is set while handlers still run, and the process then waits for them to exit.
#
# grpc.github.io/grpc/python, grpc.Server.stop: the returned event is set "when running RPCs either complete or are
# aborted and all handlers have terminated". Expected: after stop(grace).wait() in a handler of SIGTERM no handler runs,
# so what they use can be closed, and the program exits within the grace. But the handler of an aborted RPC runs on
# without its client, and Python joins its thread at the exit, so the grace bounds neither the work nor the process.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi grpcio==1.85.3
"$place/venv/bin/pip" list 2>/dev/null | grep grpcio
cat >"$place/server.py" <<'END'
import signal, sys, time
from concurrent import futures
import grpc


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.work)

    def work(self, request, context):
        print("begun", flush=True)
        time.sleep(10)
        print("handler ended", flush=True)
        return b"ok"


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers([Service()])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
signal.sigwait([signal.SIGTERM])
stopped = server.stop(1)
print("event set" if stopped.wait(60) else "event not set", flush=True)
END
cat >"$place/client.py" <<'END'
import sys
import grpc

with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    try:
        print(channel.unary_unary("/service/work")(b"", timeout=60, wait_for_ready=True))
    except grpc.RpcError as error:
        print("client told", error.code().name, flush=True)
END
port=$(free_port)
start server "$place/venv/bin/python" "$place/server.py" "$port"
server=$(last)
"$place/venv/bin/python" "$place/client.py" "$port" >"$place/client" &
client=$!
until_ok grep -q begun "$place/server.log"
kill -TERM "$(program)"
wait $client
grep -q "handler ended" "$place/server.log" && echo "the handler ended before its client was told" >&2
gone() { ! test -e "/proc/$server/exe"; }
until_ok gone
seen "client told UNAVAILABLE; then: begun, event set, handler ended" \
    "$(cat "$place/client"); then: $(paste -sd, "$place/server.log" | sed 's/,/, /g')"
