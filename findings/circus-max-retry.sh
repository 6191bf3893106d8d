#!/usr/bin/env bash
# circus: `max_retry` never ends the restarts of a program that fails right after its start.
#
# circus.readthedocs.io, Configuration, max_retry: "The number of times we attempt to start a process, before we
# abandon and stop the whole watcher. Defaults to 5." Expected: a program that ends with an error after each start is
# given up after this number. In fact only a failed exec counts, such as a missing program, so a program that cannot
# start is restarted for ever, and nobody who trusts the default learns of it.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi circus==0.19.0
"$place/venv/bin/circusd" --version
cat >"$place/program" <<END
#!/bin/sh
echo start >>"$place/starts"
exit 1
END
chmod +x "$place/program"
cat >"$place/conf" <<END
[circus]
check_delay = 0.3
endpoint = ipc://$place/endpoint
pubsub_endpoint = ipc://$place/events
[watcher:fails]
cmd = $place/program
max_retry = 2
[watcher:missing]
cmd = $place/no-such-program
max_retry = 2
END
start circusd "$place/venv/bin/circusd" "$place/conf"
ten_starts() { [ "$(wc -l <"$place/starts")" -ge 10 ]; }
until_ok ten_starts
tries=$(grep -c "error in 'missing'" "$place/circusd.log")
status() { "$place/venv/bin/circusctl" --endpoint "ipc://$place/endpoint" status "$1"; }
seen "ends at once: 10 starts, and active; missing: 2 tries, and stopped" \
    "ends at once: 10 starts, and $(status fails); missing: $tries tries, and $(status missing)"
