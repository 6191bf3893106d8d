#!/usr/bin/env bash
# Makes every small change that cargo-mutants knows to the code of the core that decides, one after the other, and names
# the changes that no test of the core notices: mutants.sh [OPTION OF CARGO-MUTANTS…]. FILES="crates/core/src/stop.rs"
# selects one file, RUNS the number of seeds. Code of the core that only the program uses is left to the tests of the
# program. The files may be of another package, whose tests TESTS="--lib envoy::" selects.
set -euo pipefail
cd "$(dirname "$0")/.."
export DRAINIT_SIM_RUNS=${RUNS:-5000} CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0
mutants() { cargo mutants --timeout 120 --output target/mutants "$@"; }
if [[ -n ${FILES:-} ]]; then
    read -ra files <<<"$FILES"
    tests=(-- ${TESTS:---lib})
    case ${files[0]} in
    crates/core/*) package=drainit-core tests=(${TESTS:+-- $TESTS}) ;;
    crates/config/*) package=drainit-config ;;
    crates/os/*) package=drainit-os ;;
    *) package=drainit ;;
    esac
    mutants --package "$package" "${files[@]/#/--file=}" "$@" "${tests[@]}"
else
    mutants --package drainit-core "$@"
    # The state machine of `drainit exec` is not in the core, and its tests are in the library.
    mutants --package drainit --file=src/exec/machine.rs "$@" -- --lib exec::
fi
