#!/usr/bin/env bash
# Runs the integration tests with the arguments of libtest. If at most two tests fail, names each and runs it once
# more, alone. A test that passes alone has lost a race against other tests: repair the test; the change is good.
set -uo pipefail
output=$(mktemp)
trap 'rm -f "$output"' EXIT

test_main() { ${CARGO:-cargo} test --locked --workspace --test main -- "$@"; }

test_main "$@" 2>&1 | tee "$output" && exit
mapfile -t failed < <(sed -n 's/^test \([^ ]*\) .*\bFAILED$/\1/p; s/^    \([a-z_0-9]*\(::[a-z_0-9]*\)\{1,\}\)$/\1/p' "$output" | sort -u)
((${#failed[@]} >= 1 && ${#failed[@]} <= 2)) || exit 1
for name in "${failed[@]}"; do
    test_main --exact "$name" || exit 1
    echo "passed alone, failed beside others: $name"
done
