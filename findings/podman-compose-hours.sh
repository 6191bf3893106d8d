#!/usr/bin/env bash
# podman-compose 1.6.0: a `stop_grace_period` with hours counts as none, so the container is killed after 10 s.
#
# The Compose specification writes durations as `1h`, `1h30m` or `1m30s`. Expected: `1h` is an hour at `stop`, as
# with Docker Compose, or an error. podman-compose knows only minutes and seconds, and leaves out the timeout of any other
# duration without a word, so that Podman takes its own default. A worker with a long job loses it.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi podman-compose==1.6.0
debian_podman
mkdir "$place/app"
# Each container drains for 14 s.
drains="trap '/busybox sleep 14; exit 0' TERM; while :; do /busybox sleep 0.2; done"
service() { echo "  $1: {image: localhost/busybox, network_mode: none, stop_grace_period: $2, command: [/busybox, sh, -c, \"${drains//\$/\$\$}\"]}"; }
{ echo "services:"; service hour 1h; service minute 60m; } >"$place/app/compose.yaml"
cat >"$place/try.sh" <<END
cd "$place/app"
compose() { "$place/venv/bin/podman-compose" --in-pod false --podman-path "$place/podman" "\$@"; }
compose up -d && sleep 1 && compose stop
code() { "$place/podman" inspect "app_\$1_1" --format '{{.State.ExitCode}}'; }
echo "said: 1h: code \$(code hour); 60m: code \$(code minute)"
END
start try bash "$place/try.sh"
until_ok grep -q said: "$place/try.log"
seen "1h: code 137; 60m: code 0" "$(sed -n 's/^said: //p' "$place/try.log")"
