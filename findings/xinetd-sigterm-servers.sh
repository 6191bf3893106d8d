#!/usr/bin/env bash
# xinetd: SIGTERM ends xinetd alone, and its running servers serve on.
#
# xinetd(8): "SIGTERM terminates all running servers before terminating xinetd", in contrast to "SIGQUIT causes
# program termination". Expected: a supervisor that sends SIGTERM to xinetd also ends the servers that xinetd has
# started. In fact both signals do the same: the servers get no signal, and stay behind with their clients.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian xinetd=1:2.3.15.3-1+b1 libwrap0 libtirpc3
export port place xinetd
xinetd="$place/root/usr/sbin/xinetd"
"$xinetd" -version
port=$(free_port)
cat >"$place/server" <<END
#!/bin/sh
trap 'echo "got SIGTERM"; exit 0' TERM
while read -r line; do echo "answer to \$line"; done
END
chmod +x "$place/server"
cat >"$place/conf" <<END
service lines
{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    bind = 127.0.0.1
    port = $port
    wait = no
    user = root
    log_type = FILE $place/service.log
    server = $place/server
}
END
cat >"$place/try.py" <<'END'
import os, signal, socket, subprocess, time

port, place = int(os.environ["port"]), os.environ["place"]


def stop(number):
    options = ["-dontfork", "-f", f"{place}/conf", "-pidfile", f"{place}/pid"]
    xinetd = subprocess.Popen([os.environ["xinetd"], *options])
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), 5).makefile("rw")
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    ask = lambda word: (client.write(word + "\n"), client.flush(), client.readline().strip())[-1]
    ask("one")
    xinetd.send_signal(number)
    code = xinetd.wait()
    time.sleep(1)
    return f"xinetd ended with {code}, {ask('two')}"


print(f"SIGTERM: {stop(signal.SIGTERM)}; SIGQUIT: {stop(signal.SIGQUIT)}", flush=True)
END
start try python3 "$place/try.py"
until_ok grep -q SIGQUIT "$place/try.log"
seen "SIGTERM: xinetd ended with 0, answer to two; SIGQUIT: xinetd ended with 0, answer to two" \
    "$(grep SIGQUIT "$place/try.log")"
