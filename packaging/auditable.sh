#!/bin/bash
# cargo, with the list of dependencies in the binary, as `cargo auditable` makes it: packaging/auditable.sh build …
#
# cargo makes the symbols of each crate from the path of the wrapper of rustc, too. `cargo auditable` gives its own
# path, so the bytes would depend on the directory of the tools. A name without a directory is the same everywhere.
set -euo pipefail
# cargo-auditable calls what CARGO says, with the arguments of this script in this variable.
[[ -z ${CARGO_AUDITABLE_ORIG_ARGS-} ]] || RUSTC_WORKSPACE_WRAPPER=cargo-auditable exec cargo "$@"
CARGO=$(realpath "$0") exec cargo-auditable auditable "$@"
