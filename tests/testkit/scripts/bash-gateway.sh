#!/bin/bash
# Starts the gateway of examples/gateway from a shell script, as images without drainit do, for comparison with drainit.
# $1 is the action on SIGTERM, before the processes are stopped in order:
#
#   plain    nothing
#   recipe   POST /drain_listeners?graceful, then sleep for ROUTER_DRAIN_TIME_SECONDS
#   careful  the recipe, and POST /healthcheck/fail
#
# Needs GATEWAY_RUN_DIR, GATEWAY_ADDRESS, GATEWAY_PORT, ROUTER_DRAIN_TIME_SECONDS and ENVOY.
set -u
mode=$1
gateway=$(dirname "$0")/../../../examples/gateway
executor_socket=$GATEWAY_RUN_DIR/python-executor.sock
policy_socket=$GATEWAY_RUN_DIR/policy-engine.sock

wait_for() {
    for _ in {1..500}; do
        [ -S "$1" ] && return
        sleep 0.02
    done
    echo "no socket $1" >&2
    exit 1
}

post() {
    python3 - "$GATEWAY_RUN_DIR/admin.sock" "$1" <<'EOF'
import socket, sys
admin = socket.socket(socket.AF_UNIX)
admin.connect(sys.argv[1])
admin.sendall(f"POST {sys.argv[2]} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
print(f"POST {sys.argv[2]}:", admin.makefile().readline().strip())
EOF
}

stop() {
    trap '' TERM
    if [ "$mode" != plain ]; then
        post '/drain_listeners?graceful'
        [ "$mode" = careful ] && post /healthcheck/fail
        sleep "$ROUTER_DRAIN_TIME_SECONDS"
    fi
    for pid in "$router" "$policy" "$executor"; do
        kill -TERM "$pid" 2>/dev/null
        wait "$pid"
    done
    exit 0
}

"$gateway/prepare.sh" || exit 1
rm -f "$executor_socket" "$policy_socket"
python3 "$gateway/python_executor.py" --listen "$executor_socket" &
executor=$!
wait_for "$executor_socket"
python3 "$gateway/policy_engine.py" --listen "$policy_socket" --executor "$executor_socket" &
policy=$!
wait_for "$policy_socket"
"$ENVOY" -c "$GATEWAY_RUN_DIR/envoy.yaml" --log-level warning --concurrency 2 --disable-hot-restart &
router=$!

trap stop TERM INT
wait "$router"
kill "$policy" "$executor" 2>/dev/null
wait
