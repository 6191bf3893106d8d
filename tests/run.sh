#!/usr/bin/env bash
# Runs the integration tests with the arguments of libtest; TESTS names another test program. If at most five tests fail,
# names each and runs it once more, alone. A test that passes alone has lost a race against other tests: repair the test;
# the change is good.
set -uo pipefail
output=$(mktemp)
trap 'rm -f "$output"' EXIT

read -ra tests <<<"${TESTS:---workspace --test main}"

test_main() { ${CARGO:-cargo} test --locked "${tests[@]}" -- "$@"; }

test_main "$@" 2>&1 | tee "$output" && exit
mapfile -t failed < <(sed -n 's/^test \([^ ]*\) .*\bFAILED$/\1/p; s/^    \([a-z_0-9]*\(::[a-z_0-9]*\)\{1,\}\)$/\1/p' "$output" | sort -u)
((${#failed[@]} >= 1 && ${#failed[@]} <= 5)) || exit 1
for name in "${failed[@]}"; do
    test_main --exact "$name" || exit 1
    echo "passed alone, failed beside others: $name"
done
