#!/usr/bin/env bash
# monit: a `check program` that exceeds its timeout is killed, but the command that hangs in it lives on.
#
# monit(1), CHECK PROGRAM: "If the program does not finish executing within <number> seconds, Monit will terminate
# it." Expected: the hanging check is gone before the next one starts. In fact monit sends SIGKILL to the shell alone,
# so the command that hangs, such as a curl without a limit, lives on, and each cycle adds one, while the checked
# server is slow.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian monit=1:5.33.0-1
monit="$place/root/usr/bin/monit"
"$monit" --version | head -n 1
cat >"$place/check" <<'END'
#!/bin/sh
# A hanging command in the middle of a script.
sleep 54321
exit 0
END
chmod +x "$place/check"
cat >"$place/conf" <<END
set daemon 1
set pidfile $place/pid
set idfile $place/id
set statefile $place/state
check program hangs with path "$place/check" with timeout 1 seconds
    if status != 0 then alert
END
chmod 600 "$place/conf"
start monit "$monit" -I -c "$place/conf"
until_ok grep -q started "$place/monit.log"
main=$(program)
main=${main% }
killed() { grep -c "Killing program" "$place/monit.log" || true; }
# The hanging commands whose script is dead. Their parent is PID 1 of the namespace, which is monit.
left() {
    local task count=0
    for task in $(cat "/proc/$main/task/$main/children"); do
        if grep -qz 54321 "/proc/$task/cmdline" 2>/dev/null; then count=$((count + 1)); fi
    done
    echo "$count"
}
three_killed() { [ "$(killed)" -ge 3 ]; }
until_ok three_killed
sleep 1
killed=$(killed) left=$(left)
echo "$killed checks killed, $left commands of them run"
now="$left of $killed killed checks leave their command"
[ "$left" -lt "$killed" ] || now="each killed check leaves its command"
seen "each killed check leaves its command" "$now"
