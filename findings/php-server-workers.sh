#!/usr/bin/env bash
# PHP's built-in server with PHP_CLI_SERVER_WORKERS: the workers survive the SIGTERM that ends the server, and serve on.
#
# php.net/manual/features.commandline.webserver: "PHP_CLI_SERVER_WORKERS can be set to fork multiple workers". Expected:
# the server and its workers are one server, so SIGTERM, which `docker stop` and every supervisor send to the server, ends
# all of them. Containers often start this server, also by Laravel's `artisan serve`.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian php8.2-cli=8.2.36-1~deb12u1 libargon2-1 libsodium23 libxml2 libicu72 libpcre2-8-0 libedit2 libbsd0 libmd0
php="$place/root/usr/bin/php8.2"
"$php" -n --version | head -n 1
mkdir "$place/site"
echo '<?php echo "answered by ", getmypid();' >"$place/site/index.php"
port=$(free_port)
# A shell is PID 1 of the namespace, so that the workers do not end with the server for another reason.
cat >"$place/run" <<END
PHP_CLI_SERVER_WORKERS=4 "$php" -n -q -S 127.0.0.1:$port -t "$place/site" & echo \$! >"$place/pid"
wait \$!; echo "code \$?" >"$place/code"; sleep 60
END
start server sh "$place/run"
fetch() { curl -sf --max-time 5 "http://127.0.0.1:$port/"; }
until_ok fetch
# The PID in the namespace is the last word of NSpid.
for task in /proc/[0-9]*; do
    if [ "$(awk '/^NSpid/ { print $NF }' "$task/status" 2>/dev/null)" = "$(cat "$place/pid")" ] &&
        grep -q "$place" "$task/cmdline" 2>/dev/null; then
        kill -TERM "${task#/proc/}"
    fi
done
until_ok test -s "$place/code"
sleep 1
after=$(fetch >/dev/null && echo "a request is answered" || echo "a request is refused")
seen "the server ended with code 143; afterwards a request is answered" \
    "the server ended with $(cat "$place/code"); afterwards $after"
