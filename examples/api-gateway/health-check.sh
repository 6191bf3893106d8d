#!/bin/sh
# Replaces the image's script of this name, for manifests and Compose files that call the script. Exits with 0 if the
# Router and the Policy Engine answer now, and otherwise with 1 and the reason. `drainit health` needs no shell.
drainit=/usr/local/bin/drainit
if [ "${ROUTER_ADMIN_ENABLED:-false}" = true ]; then
    router="http://127.0.0.1:${ROUTER_ADMIN_PORT:-9901}/ready"
else
    router=unix:/var/run/api-platform/router-admin.sock:/ready
fi
$drainit health && $drainit health --url "$router" &&
    $drainit health --url "http://127.0.0.1:${POLICY_ENGINE_ADMIN_PORT:-9002}/health"
