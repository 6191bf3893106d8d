#!/usr/bin/env bash
# Apache with mod_fcgid: a graceful restart ends the FastCGI programs after 3 s, and a request in flight gets a 500.
#
# httpd.apache.org/docs/2.4/stopping.html: SIGUSR1 "causes the parent process to advise the children to exit after their
# current request". mod_fcgid's page names no exception. Expected: a request that runs when `apachectl graceful` reloads
# the configuration is answered, as with mod_cgid, and as at SIGWINCH, the graceful stop. In fact Apache waits for
# mod_fcgid's process manager, which sends SIGTERM to all its programs, also to those that work on a request.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian apache2-bin=2.4.71-1~deb12u1 libapache2-mod-fcgid=1:2.3.9-4 libapr1 libaprutil1 libpcre2-8-0
apache2="$place/root/usr/sbin/apache2" modules="$place/root/usr/lib/apache2/modules"
pypi flipflop==1.0
"$apache2" -v | head -n 1
cat >"$place/program" <<END
#!/usr/bin/python3
import os, sys, time

# A Python that Apache's user may start.
sys.path.append("$(echo "$place"/venv/lib/python3*/site-packages)")


def work(kind, seconds):
    if seconds != "0":
        print("begun", kind, file=sys.stderr, flush=True)
    time.sleep(float(seconds))


def application(environ, start_response):
    work("fcgid", environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


if "GATEWAY_INTERFACE" in os.environ:
    work("cgid", os.environ["QUERY_STRING"])
    print("Content-Type: text/plain\n\nok", end="")
else:
    from flipflop import WSGIServer
    WSGIServer(application).run()
END
chmod +x "$place/program"
cp "$place/program" "$place/cgi-program"
port=$(free_port)
cat >"$place/conf" <<END
ServerRoot $place
ServerName localhost
Listen 127.0.0.1:$port
DefaultRuntimeDir $place
ErrorLog $place/error.log
LogLevel fcgid:info
User nobody
Group nogroup
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule alias_module $modules/mod_alias.so
LoadModule cgid_module $modules/mod_cgid.so
LoadModule fcgid_module $modules/mod_fcgid.so
ScriptAlias /cgi $place/cgi-program
FcgidIPCDir $place/fcgid
FcgidProcessTableFile $place/fcgid.table
Alias /fcgi $place/program
<Directory $place>
    Options ExecCGI
    Require all granted
    <Files program>
        SetHandler fcgid-script
    </Files>
</Directory>
END

# The status of a request of 8 s that is in flight at a signal.
status_at() {
    start "$1" "$apache2" -f "$place/conf" -c "PidFile $place/$1.pid" -c "ScriptSock $place/$1.socket" -D FOREGROUND
    until_ok curl -sf --max-time 5 "http://127.0.0.1:$port/fcgi?0"
    until_ok curl -sf --max-time 5 "http://127.0.0.1:$port/cgi?0"
    curl -s --max-time 30 -o "$place/body" -w '%{http_code}' "http://127.0.0.1:$port/fcgi?8" >"$place/fcgi" &
    local fcgi=$!
    curl -s --max-time 30 -o "$place/body-cgi" -w '%{http_code}' "http://127.0.0.1:$port/cgi?8" >"$place/cgi" &
    local cgi=$!
    until_ok grep -qh "begun fcgid" "$place/error.log" "$place/$1.log"
    until_ok grep -qh "begun cgid" "$place/error.log" "$place/$1.log"
    kill "-$1" "$(program)"
    wait $fcgi $cgi || true
    mv "$place/error.log" "$place/error-$1.log"
    echo "mod_fcgid $(cat "$place/fcgi"), mod_cgid $(cat "$place/cgi")"
    kill -KILL "$(last)"
}
stop=$(status_at WINCH)
restart=$(status_at USR1)
grep -m 1 "exit(shutting down)" "$place/error-USR1.log"
seen "graceful stop: mod_fcgid 200, mod_cgid 200; graceful restart: mod_fcgid 500, mod_cgid 200" \
    "graceful stop: $stop; graceful restart: $restart"
