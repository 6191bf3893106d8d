#!/usr/bin/env bash
# runuser -u: SIGQUIT reaches nobody, and two seconds after SIGTERM the program is killed.
#
# runuser(1) says nothing about signals; with -u it runs the command without a shell. su(1), from the same source:
# "Upon receiving either SIGINT, SIGQUIT or SIGTERM, su terminates its child". Expected: the program gets the signal,
# as behind setpriv, or at least ends. In fact runuser stays as the parent and holds SIGQUIT back, so the graceful
# stop of nginx or php-fpm never begins; and a program that needs 5 s after SIGTERM is killed, whatever stop timeout
# its supervisor has.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian util-linux=2.38.1-5+deb12u3
export runuser
runuser=$(find "$place/root" -name runuser -type f -perm -u+x)
"$runuser" --version
cat >"$place/try.py" <<'END'
import os, signal, subprocess, sys

PROGRAM = """
import signal, time
def told(number, frame):
    print("told", signal.Signals(number).name, flush=True)
    time.sleep(4)
    print("ended", flush=True)
    raise SystemExit
signal.signal(signal.SIGTERM, told)
signal.signal(signal.SIGQUIT, told)
print("up", flush=True)
while True:
    time.sleep(0.1)
"""


def stop(*wrapper, number):
    started = subprocess.Popen([*wrapper, "python3", "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    started.stdout.readline()
    started.send_signal(number)
    try:
        started.wait(8)
    except subprocess.TimeoutExpired:
        started.kill()
        return "nothing within 8 s"
    return started.stdout.read().strip().replace("\n", ", ")


def both(*wrapper):
    return f"{stop(*wrapper, number=signal.SIGTERM)}; {stop(*wrapper, number=signal.SIGQUIT)}"


print("setpriv:", both("setpriv", "--reuid=65534"))
print("runuser:", both(os.environ["runuser"], "-u", "nobody", "--"))
END
start try python3 -u "$place/try.py"
until_ok grep -q runuser: "$place/try.log"
grep setpriv: "$place/try.log"
seen "runuser: told SIGTERM; nothing within 8 s" "$(grep runuser: "$place/try.log")"
