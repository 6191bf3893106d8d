#!/bin/bash
# The entrypoint that drainit is compared with: a typical script for the runtime image of the gateway, under tini. With
# ROUTER_ADMIN_ENABLED=true, the script asks Envoy to drain and sleeps for 15 s. Otherwise it drains nothing.
set -u

export GATEWAY_CONTROLLER_HOST=${GATEWAY_CONTROLLER_HOST:-gateway-controller}
export ROUTER_XDS_PORT=${ROUTER_XDS_PORT:-18000} POLICY_ENGINE_XDS_PORT=${POLICY_ENGINE_XDS_PORT:-18001}
export XDS_SERVER_HOST=$GATEWAY_CONTROLLER_HOST XDS_SERVER_PORT=$ROUTER_XDS_PORT
export LOG_LEVEL=${LOG_LEVEL:-info} ROUTER_CONCURRENCY=${ROUTER_CONCURRENCY:-0}
export APIP_GW_ROUTER_RE2_MAX_PROGRAM_SIZE=${APIP_GW_ROUTER_RE2_MAX_PROGRAM_SIZE:-400}
export ROUTER_ADMIN_ENABLED=${ROUTER_ADMIN_ENABLED:-false}
export ROUTER_ADMIN_HOST=${ROUTER_ADMIN_HOST:-127.0.0.1} ROUTER_ADMIN_PORT=${ROUTER_ADMIN_PORT:-9901}
export ROUTER_DRAIN_TIME_SECONDS=${ROUTER_DRAIN_TIME_SECONDS:-15}
export PYTHON_EXECUTOR_SOCKET=/var/run/api-platform/python-executor.sock
policy_socket=/var/run/api-platform/policy-engine.sock

log() { echo "[ent] $(date '+%F %T') $*"; }

prefix() { while IFS= read -r line; do echo "[$1] $line"; done; }

wait_for() { # socket, seconds
    for ((i = 0; i < $2; i++)); do
        [[ -S $1 ]] && return
        sleep 1
    done
    log "no socket $1 after $2 s"
    exit 1
}

shutdown() {
    log "stopping"
    if [[ $ROUTER_ADMIN_ENABLED == true && $ROUTER_DRAIN_TIME_SECONDS -gt 0 ]]; then
        if curl -s -X POST "http://$ROUTER_ADMIN_HOST:$ROUTER_ADMIN_PORT/drain_listeners?graceful" >/dev/null; then
            sleep "$ROUTER_DRAIN_TIME_SECONDS"
        fi
    fi
    for pid in "$router" "$policy" "$python"; do
        kill -TERM "$pid" 2>/dev/null
        wait "$pid"
    done
    rm -f "$PYTHON_EXECUTOR_SOCKET" "$policy_socket"
    exit 0
}

rm -f "$PYTHON_EXECUTOR_SOCKET" "$policy_socket"
override=$(envsubst </etc/envoy/config-override.yaml)
if [[ $ROUTER_ADMIN_ENABLED == true ]]; then
    override+="
admin:
  address:
    socket_address: {address: $ROUTER_ADMIN_HOST, port_value: $ROUTER_ADMIN_PORT}"
fi

env -u PYTHON_EXECUTOR_LISTEN python3 /app/python-executor/main.py --listen "$PYTHON_EXECUTOR_SOCKET" > >(prefix pye) 2> >(prefix pye >&2) &
python=$!
wait_for "$PYTHON_EXECUTOR_SOCKET" 15
/app/policy-engine -xds-server "$GATEWAY_CONTROLLER_HOST:$POLICY_ENGINE_XDS_PORT" > >(prefix pol) 2> >(prefix pol >&2) &
policy=$!
wait_for "$policy_socket" 10
/usr/local/bin/envoy -c /etc/envoy/envoy.yaml --config-yaml "$override" --log-level "$LOG_LEVEL" \
    --concurrency "$ROUTER_CONCURRENCY" > >(prefix rtr) 2> >(prefix rtr >&2) &
router=$!

trap shutdown TERM INT QUIT
wait -n "$router" "$policy" "$python"
code=$?
log "a child has ended with $code"
kill -TERM "$python" "$policy" "$router" 2>/dev/null
wait
exit $code
