#!/usr/bin/env bash
# supervisor: `supervisorctl stop all` tells the programs in the order of their start, and all of them at once.
#
# supervisord.org/configuration.html, priority: "Lower priorities indicate programs that start first and shut down
# last at startup and when aggregate commands are used in various clients (e.g. "start all"/"stop all")." Expected:
# `stop all` first stops the web server of priority 2, then its database of priority 1, as SIGTERM to supervisord
# does. In fact the database is told first, while the web server still has requests that need it.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi supervisor==4.3.0
"$place/venv/bin/supervisord" --version
cat >"$place/program" <<END
#!/bin/sh
trap 'echo "\$1 told" >>"$place/said"; sleep 2; echo "\$1 ended" >>"$place/said"; exit 0' TERM
echo "\$1 up" >>"$place/up"
while :; do sleep 0.1; done
END
chmod +x "$place/program"
cat >"$place/conf" <<END
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = $place/pid
[unix_http_server]
file = $place/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://$place/socket
[program:database]
command = $place/program database
priority = 1
[program:web]
command = $place/program web
priority = 2
END
ctl() { "$place/venv/bin/supervisorctl" -c "$place/conf" "$@"; }
both_run() { [ "$(sort -u "$place/up" | wc -l)" = 2 ] && [ "$(ctl status | grep -c RUNNING)" = 2 ]; }
both_ended() { [ "$(grep -c ended "$place/said")" = 2 ]; }

# What came first in a stop by this command.
first_two() {
    rm -f "$place/said" "$place/up"
    start supervisord "$place/venv/bin/supervisord" -c "$place/conf"
    until_ok both_run
    "$@" >/dev/null
    until_ok both_ended
    kill -KILL "$(last)"
    head -n 2 "$place/said" | paste -sd, | sed 's/,/, /'
}
terminate() { kill -TERM "$(program)"; }
signal=$(first_two terminate)
command=$(first_two ctl stop all)
seen "SIGTERM: web told, web ended; stop all: database told, web told" "SIGTERM: $signal; stop all: $command"
