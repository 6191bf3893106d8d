#!/usr/bin/env bash
# uWSGI: a graceful reload finishes requests, but kills mules and spoolers: a message is lost, a task runs twice.
#
# uwsgi-docs, Management: SIGHUP is to "gracefully reload all the workers and the master process". Options:
# mule-reload-mercy, "set the maximum time (in seconds) a mule can take to reload/shutdown (default is 60)". Expected: a
# mule and a spooler get time to finish what they work on, as a worker does. They are killed at once. The message of the
# mule is gone. The file of the spooler's task is left, so the task begins again after the reload.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian uwsgi-core=2.0.21-5.1 uwsgi-plugin-python3=2.0.21-5.1 libpcre3 libyajl2 libxml2 libicu72
uwsgi="$place/root/usr/bin/uwsgi-core"
echo "uWSGI $("$uwsgi" --version)"
mkdir "$place/spool"
cat >"$place/app.py" <<'END'
import time, uwsgi


def application(environ, start_response):
    what = environ["QUERY_STRING"]
    if what == "jobs":
        uwsgi.mule_msg(b"work")
        uwsgi.spool({b"job": b"work"})
    if what == "slow":
        print("request begun", flush=True)
        time.sleep(5)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def task(environment):
    print("task begun", flush=True)
    time.sleep(5)
    print("task ended", flush=True)
    return uwsgi.SPOOL_OK


uwsgi.spooler = task
END
cat >"$place/mule.py" <<'END'
import time, uwsgi

print("mule ready", flush=True)
while True:
    uwsgi.mule_get_msg()
    print("message begun", flush=True)
    time.sleep(5)
    print("message ended", flush=True)
END
port=$(free_port)
start uwsgi "$uwsgi" --plugin "$(find "$place/root" -name python311_plugin.so)" --http-socket "127.0.0.1:$port" \
    --master --processes 2 --wsgi-file "$place/app.py" --mule="$place/mule.py" --spooler "$place/spool" \
    --mule-reload-mercy 60 --worker-reload-mercy 60
log="$place/uwsgi.log"
until_ok curl -sf "http://127.0.0.1:$port/"
until_ok grep -q "mule ready" "$log"
curl -sf "http://127.0.0.1:$port/?jobs" >"$place/jobs"
until_ok grep -q "message begun" "$log"
until_ok grep -q "task begun" "$log"
curl -sf --max-time 30 "http://127.0.0.1:$port/?slow" >"$place/slow" &
slow=$!
until_ok grep -q "request begun" "$log"
kill -HUP "$(program)"
request=cut
wait $slow && request=answered
# The mule and the spooler of the new generation; the task's second run ends 5 s after it has begun.
until_ok grep -q "task ended" "$log"
count() { grep -cx "$1" "$log" || true; }
seen "request answered; message begun 1, ended 0, mules 2; task begun 2, ended 1" \
    "request $request; message begun $(count 'message begun'), ended $(count 'message ended'), mules $(count \
        'mule ready'); task begun $(count 'task begun'), ended $(count 'task ended')"
