#!/usr/bin/env bash
# uWSGI 2.0.31: at SIGTERM, the Emperor cuts the requests of a vassal that would finish them at SIGTERM itself.
#
# uwsgi-docs, The uWSGI Emperor: it is "a master process that monitors application configs", and vassals are instances as
# any other. An instance with `hook-master-start = unix_signal:15 gracefully_kill_them_all` finishes its requests at
# SIGTERM. Expected: so it does when the Emperor is told to stop. The Emperor tells its vassals over a socket, not by a
# signal, and a vassal then kills its workers at once.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi uWSGI==2.0.31
echo "uWSGI $("$place/venv/bin/uwsgi" --version)"
port=$(free_port)
mkdir "$place/vassals"
cat >"$place/app.py" <<'END'
import time

def application(environ, start_response):
    time.sleep(float(environ["PATH_INFO"].strip("/")))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
END
cat >"$place/vassals/app.ini" <<END
[uwsgi]
master = true
http-socket = 127.0.0.1:$port
wsgi-file = $place/app.py
hook-master-start = unix_signal:15 gracefully_kill_them_all
END
# The answer to a request of 3 s, if the program gets SIGTERM after one second.
answer() {
    start "$1" "$place/venv/bin/uwsgi" "${@:2}"
    until_ok curl -sf "http://127.0.0.1:$port/0"
    curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/3" >"$place/answer" &
    sleep 1
    kill -TERM "$(program)"
    wait $! || true
    cat "$place/answer"
    until_ok eval "! kill -0 $(last)"
}
alone=$(answer alone --ini "$place/vassals/app.ini")
emperor=$(answer emperor --emperor "$place/vassals")
seen "alone: 200, below the Emperor: 000" "alone: $alone, below the Emperor: $emperor"
