#!/usr/bin/env bash
# podman-compose 1.6.0: `stop` stops a service at the same time as the services that depend on it.
#
# The Compose specification: with `depends_on`, "Compose removes services in dependency order", and a service "is removed
# before" those that it names. podman-compose starts in this order. Expected: it also stops in it. All containers get
# their signal at once, so a worker that still needs its database for the last job loses it.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi podman-compose==1.6.0
debian_podman
mkdir "$place/app"
# The worker needs the database for 3 s more.
cat >"$place/app/compose.yaml" <<'END'
services:
  database:
    image: localhost/busybox
    network_mode: none
    command: [/busybox, sh, -c, "trap 'exit 0' TERM; while :; do /busybox sleep 0.2; done"]
  worker:
    image: localhost/busybox
    network_mode: none
    depends_on: [database]
    command: [/busybox, sh, -c, "trap '/busybox sleep 3; exit 0' TERM; while :; do /busybox sleep 0.2; done"]
END
cat >"$place/try.sh" <<END
cd "$place/app"
compose() { "$place/venv/bin/podman-compose" --in-pod false --podman-path "$place/podman" "\$@"; }
compose up -d && sleep 1 && compose stop
ended() { "$place/podman" inspect "app_\$1_1" --format '{{.State.FinishedAt.Unix}}'; }
began() { "$place/podman" inspect "app_\$1_1" --format '{{.State.StartedAt.UnixMilli}}'; }
started=\$(( \$(began database) <= \$(began worker) ))
stopped=\$(( \$(ended database) >= \$(ended worker) ))
echo "said: started in order: \$started, stopped in order: \$stopped"
END
start try bash "$place/try.sh"
until_ok grep -q said: "$place/try.log"
seen "started in order: 1, stopped in order: 0" "$(sed -n 's/^said: //p' "$place/try.log")"
