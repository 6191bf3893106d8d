#!/usr/bin/env bash
# multiwatch: `--signal TERM` sends SIGQUIT to the children, `--signal QUIT` sends SIGINT, and `--signal HUP` nothing.
#
# multiwatch(1): "Signal to send to children to signal 'graceful' termination (HUP,INT,QUIT,TERM,USR1,USR2, default is
# USR1)". Expected: at SIGTERM to multiwatch, the children get the named signal. In fact each name stands for another
# signal, only the default is right. So children that are to end by SIGTERM get SIGQUIT, often with a core dump, and
# with `--signal HUP` multiwatch and its children run on until they are killed.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian multiwatch=1.0.0-rc1+really1.0.0-1+b1 libev4 libglib2.0-0 libpcre2-8-0
multiwatch="$place/root/usr/bin/multiwatch"
"$multiwatch" --version 2>&1 | head -n 1
cat >"$place/child" <<'END'
#!/bin/sh
for name in HUP INT QUIT ILL TRAP USR1 USR2 TERM; do trap "echo got $name" "$name"; done
echo up
while :; do sleep 0.1; done
END
chmod +x "$place/child"

# What a child gets when multiwatch gets SIGTERM.
sent() {
    start "$1" "$multiwatch" "${@:2}" -- "$place/child"
    until_ok grep -q up "$place/$1.log"
    kill -TERM "$(program)"
    sleep 3
    kill -KILL "$(last)"
    grep -m 1 got "$place/$1.log" || echo "got nothing"
}
now="default: $(sent default)"
for name in USR1 TERM QUIT INT HUP; do
    now="$now; $name: $(sent "$name" --signal "$name")"
done
seen "default: got USR1; USR1: got ILL; TERM: got QUIT; QUIT: got INT; INT: got HUP; HUP: got nothing" "$now"
