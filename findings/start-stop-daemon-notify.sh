#!/usr/bin/env bash
# start-stop-daemon --notify-await: a program that ends before it is ready is noticed only when the time is over.
#
# start-stop-daemon(8): "Wait for the background process to send a readiness notification before considering the
# service started", for 60 seconds by default. Expected: a process that has ended cannot send any more, so the start
# fails at once, as with systemd's Type=notify. In fact a program with an error in its configuration, which ends after
# some milliseconds, holds the init script for the whole --notify-timeout, and only "timed out" is said about it.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian dpkg=1.21.23
unset LD_LIBRARY_PATH
tool=$(find "$place/root" -name start-stop-daemon -type f -perm -u+x)
"$tool" --version | head -n 1
cat >"$place/program" <<END
#!/bin/sh
echo "ended" >"$place/program.log"
exit 3
END
chmod +x "$place/program"
began=$(date +%s)
code=0
"$tool" --start --background --notify-await --notify-timeout 6 --pidfile "$place/pid" --exec "$place/program" \
    2>"$place/said" || code=$?
took=$(($(date +%s) - began))
cat "$place/program.log" "$place/said"
when=$([ "$took" -ge 5 ] && echo "when the 6 s are over" || echo "after $took s")
seen "code 2 when the 6 s are over, timed out waiting for a notification" \
    "code $code $when, $(sed 's/^.*start-stop-daemon: //' "$place/said")"
