#!/bin/sh
# Envoy's own restarter runs this script, and sets RESTART_EPOCH.
exec "$ENVOY" -c "$DIRECTORY/envoy.yaml" --log-level warning --concurrency 2 \
    --base-id "$BASE_ID" --restart-epoch "$RESTART_EPOCH" \
    --drain-time-s "$DRAIN_SECONDS" --parent-shutdown-time-s "$PARENT_SECONDS"
