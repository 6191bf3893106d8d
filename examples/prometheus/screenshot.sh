#!/usr/bin/env bash
# Takes a screenshot of dashboard.json in a real Grafana: screenshot.sh [FILE.png], by default docs/grafana.png.
#
# Needs drainit, prometheus, grafana (10 or later) and chromium in the PATH, the ports 9902, 9090 and 3000, and two
# minutes. GRAFANA_HOME is where Grafana's package is unpacked, by default /usr/share/grafana.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
picture=${1:-$here/../../docs/grafana.png}
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$dir"' EXIT

cat >"$dir/drainit.yaml" <<'END'
control: {listen: 127.0.0.1:9902, socket: off}
processes:
  database: {command: [sleep, infinity]}
  flaky: {command: [sh, -c, "sleep 20; exit 7"], restart: always, required: false, on_exit: ignore}
  migrate: {command: ["true"], type: oneshot}
  plugin: {command: [sleep, infinity], only_if: {path_exists: /none}}
  web:
    command: [sleep, infinity]
    depends_on: [database, migrate]
    drain: {exec: {command: [sleep, "15"], time: 20s}}
    readiness: {exec: [sleep, "1"], interval: 1s}
END
drainit run -c "$dir/drainit.yaml" 2>"$dir/drainit.log" &
drainit=$!
prometheus --config.file="$here/prometheus.yaml" --storage.tsdb.path="$dir/prometheus" 2>"$dir/prometheus.log" &

mkdir -p "$dir/provisioning/datasources" "$dir/provisioning/dashboards"
cat >"$dir/provisioning/datasources/prometheus.yaml" <<'END'
apiVersion: 1
datasources: [{name: Prometheus, type: prometheus, url: "http://127.0.0.1:9090", isDefault: true}]
END
cat >"$dir/provisioning/dashboards/drainit.yaml" <<END
apiVersion: 1
providers: [{name: drainit, type: file, options: {path: "$here"}}]
END
GF_PATHS_DATA=$dir/grafana GF_PATHS_LOGS=$dir/logs GF_PATHS_PROVISIONING=$dir/provisioning GF_AUTH_ANONYMOUS_ENABLED=true \
    GF_SERVER_HTTP_ADDR=127.0.0.1 grafana server --homepath "${GRAFANA_HOME:-/usr/share/grafana}" >"$dir/grafana.log" &

sleep 75                # some scrapes, and restarts of flaky
kill -TERM "$drainit"
sleep 8                 # web is draining
chromium --headless --no-sandbox --hide-scrollbars --window-size=1400,1900 --virtual-time-budget=15000 \
    --screenshot="$picture" "http://127.0.0.1:3000/d/drainit?kiosk&from=now-2m&to=now" 2>/dev/null
echo "$picture"
