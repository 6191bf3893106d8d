#!/usr/bin/env bash
# flock -o: SIGTERM frees the lock while the command still runs, and the next flock starts a second one beside it.
#
# flock(1): -o closes "the file descriptor on which the lock is held before executing command. This is useful if
# command spawns a child process which should not be holding the lock." Expected: with or without -o, the lock is held
# as long as the command runs. In fact flock waits for the command as its parent, and dies at SIGTERM without a word
# to it. Without -o the command keeps the lock. With -o nobody does, so a supervisor's restart runs the job twice at
# the same time.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian util-linux=2.38.1-5+deb12u3
export flock place
flock=$(find "$place/root" -name flock -type f -perm -u+x)
"$flock" --version
cat >"$place/job" <<'END'
echo $$ >"$place/up.new"
mv "$place/up.new" "$place/up"
exec sleep 60
END
cat >"$place/try" <<'END'
# Stops a flock with these options, and says what a second flock finds.
stop() {
    rm -f "$place/up"
    "$flock" $1 "$place/lock$1" sh "$place/job" >"$place/job.log" 2>&1 &
    until [ -s "$place/up" ]; do sleep 0.1; done
    kill -TERM $!
    wait $!
    code=$?
    kill -0 "$(cat "$place/up")" && job=runs || job=ended
    "$flock" -n "$place/lock$1" true && lock=free || lock=held
    echo "flock $1 ends with $code, the job $job, the lock is $lock"
}
echo "said: $(stop --); $(stop -o)"
END
start try sh "$place/try"
until_ok grep -q said: "$place/try.log"
without="flock -- ends with 143, the job runs, the lock is held"
with="flock -o ends with 143, the job runs, the lock is free"
seen "$without; $with" "$(sed -n 's/^said: //p' "$place/try.log")"
