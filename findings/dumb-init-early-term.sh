#!/usr/bin/env bash
# dumb-init: a SIGTERM in the first millisecond is lost, and so the container runs until SIGKILL. `tini -g` has the same
# race, and loses it less often.
#
# README: "signals are proxied" to the child. Expected: a SIGTERM that dumb-init has read reaches the child. In fact
# dumb-init sends the signal to the process group that its child makes by setsid(). If the child has not called setsid()
# yet, kill(-2, SIGTERM) returns ESRCH, and dumb-init does not send the signal again. Plain tini sends the signal to the
# child itself, and loses none.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian dumb-init=1.2.5-2 tini=0.19.0-1+b3
cargo build --quiet --locked --package pid1-probe
probe="${CARGO_TARGET_DIR:-target}/debug/pid1-probe"

# Whether the container ended by a SIGTERM that came as soon as the init handled signals.
ended() {
    if "$probe" run --row term-while-starting -- "$@" -- >"$place/tap"; then echo ended; else echo "ran on"; fi
}
cd "$(dirname "$0")/.."
seen "dumb-init: ran on; tini: ended" "dumb-init: $(ended "$place/root/usr/bin/dumb-init"); tini: $(ended "$place/root/usr/bin/tini")"
