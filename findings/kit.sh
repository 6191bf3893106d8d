# Helpers of the findings: packages in a temporary directory, and the comparison with what was seen before.
#
# A finding is a behaviour of a published program that its documentation does not lead one to expect. Each script states
# the expectation, and exits with 1 if the program behaves differently by
# now. All servers listen on 127.0.0.1, and end with the script.

place=$(mktemp -d)
chmod 755 "$place"
# The PIDs of the started programs. A file, because a subshell cannot add to a list of its parent.
touch "$place/pids"
finish() {
    while read -r pid; do
        kill -KILL "$pid" 2>/dev/null || true
    done <"$place/pids"
    rm -rf "$place"
}
trap finish EXIT

# Unpacks packages of Debian into $place/root, without installing them. NAME=VERSION pins a version.
debian() {
    (
        cd "$place"
        apt-get download -q "$@" >download.log 2>&1 || { cat download.log >&2; exit 2; }
        for package in *.deb; do
            dpkg -x "$package" root
        done
        rm -f ./*.deb
    )
    LD_LIBRARY_PATH=$(find "$place/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    export LD_LIBRARY_PATH
}

# Installs packages of PyPI into $place/venv.
pypi() {
    env -u LD_LIBRARY_PATH python3 -m venv "$place/venv"
    env -u LD_LIBRARY_PATH "$place/venv/bin/pip" install -q "$@"
}

# Unpacks Debian's Redis. Its libraries are for Redis alone, so LD_LIBRARY_PATH is not set afterwards.
debian_redis() {
    debian redis-tools=5:7.0.15-1~deb12u10 libjemalloc2 liblua5.1-0 lua-bitop lua-cjson libhiredis0.14 liblzf1
    redis_libraries=$LD_LIBRARY_PATH
    unset LD_LIBRARY_PATH
    # One program is the server and all tools. Its name says which of them it is.
    [ -e "$place/root/usr/bin/redis-server" ] || ln -s redis-check-rdb "$place/root/usr/bin/redis-server"
}

# Starts Redis at $port, and waits until it answers. BROKER has its address.
start_redis() {
    port=$(free_port)
    export BROKER="redis://127.0.0.1:$port/0"
    start redis env LD_LIBRARY_PATH="$redis_libraries" "$place/root/usr/bin/redis-server" --port "$port" \
        --bind 127.0.0.1 --save "" --dir "$place"
    until_ok ask ping
}

# Asks this Redis.
ask() { LD_LIBRARY_PATH=$redis_libraries "$place/root/usr/bin/redis-cli" -p "$port" "$@"; }

# Starts a program as PID 1 of a PID namespace, so that all its processes end with the script. Its output is in
# $place/NAME.log.
start() {
    local name=$1
    shift
    unshare --pid --fork --kill-child --mount-proc "$@" >"$place/$name.log" 2>&1 &
    echo $! >>"$place/pids"
    disown
}

# The PID of the last unshare.
last() {
    tail -n 1 "$place/pids"
}

# The PID of the last started program, as seen from here.
program() {
    local unshare
    unshare=$(last)
    cat "/proc/$unshare/task/$unshare/children"
}

# Waits for up to a minute until a command succeeds.
until_ok() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "this never succeeded: $*" >&2
    tail -n 20 "$place"/*.log >&2
    exit 2
}

free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# seen EXPECTED NOW: compares what was seen before with what is seen now.
seen() {
    echo "seen before: $1"
    echo "seen now:    $2"
    [ "$1" = "$2" ] || { echo "the program behaves differently by now" >&2; exit 1; }
}

# Unpacks Debian's Podman, and adds $place/podman, which keeps its containers in $place, and the image localhost/busybox.
debian_podman() {
    debian podman=4.3.1+ds1-8+deb12u1+b3 conmon=2.1.6+ds1-1 runc catatonit busybox-static golang-github-containers-common \
        libgpgme11 libassuan0 libsubid4 libdevmapper1.02.1
    local root=$place/root
    cat >"$place/containers.conf" <<END
[engine]
conmon_path = ["$root/usr/bin/conmon"]
helper_binaries_dir = ["$root/usr/libexec/podman"]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[engine.runtimes]
runc = ["$root/usr/sbin/runc"]
END
    cat >"$place/podman" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$LD_LIBRARY_PATH" CONTAINERS_CONF="$place/containers.conf"
exec "$root/usr/bin/podman" --root "$place/store" --runroot "$place/run" --storage-driver vfs "\$@"
END
    chmod 755 "$place/podman"
    unset LD_LIBRARY_PATH
    mkdir "$place/image"
    cp "$root/bin/busybox" "$place/image/"
    tar -C "$place/image" -c . | "$place/podman" import -q --signature-policy "$root/etc/containers/policy.json" - localhost/busybox \
        >"$place/import.log"
}
