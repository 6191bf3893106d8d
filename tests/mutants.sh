#!/usr/bin/env bash
# Changes what decides in every small way that cargo-mutants knows, one after the other, and names the changes that no
# test of the core notices: mutants.sh [OPTION OF CARGO-MUTANTS…]. FILES="crates/core/src/stop.rs" is one file, RUNS the
# number of seeds. What only the program uses of the core is left to its tests. The files may be of another package, and
# TESTS="--lib envoy::" says which tests are to notice.
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
    *) package=drainit ;;
    esac
    mutants --package "$package" "${files[@]/#/--file=}" "$@" "${tests[@]}"
else
    mutants --package drainit-core "$@"
    # Its machine is not in the core, and its tests are in the library.
    mutants --package drainit --file=src/exec/machine.rs "$@" -- --lib exec::
fi
