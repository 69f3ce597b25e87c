#!/usr/bin/env bash
# Instructions of the hot functions (callgrind), compared with the committed baseline: a guard against slower code which no clock and no busy machine
# can fool.
#
#   tests/instructions.sh [--bless]
#
# A function is run once and four times, so that what comes before it does not count. More than TOLERANCE percent above the baseline fails, and as
# much below asks for a new baseline, which --bless writes. Counts differ a little from compiler to compiler; valgrind hides the newest instruction sets
# of a processor, so that they hardly differ from machine to machine.
set -euo pipefail
cd "$(dirname "$0")/.."
BASELINE=benches/instructions.txt
TOLERANCE=5
if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing: install it (https://valgrind.org), or leave this test out" >&2
    exit 1
fi
cargo build --quiet --locked --profile instructions -p quorate-bench --example hot
HOT=${CARGO_TARGET_DIR:-target}/instructions/examples/hot
count() { # NAME TIMES
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$HOT" "$1" "$2" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
FAILED=0
NEW=""
for name in $("$HOT"); do
    once=$(count "$name" 1)
    four=$(count "$name" 4)
    found=$(((four - once) / 3))
    NEW+="$name $found"$'\n'
    known=$(sed -n "s/^$name \([0-9]*\)$/\1/p" "$BASELINE" 2>/dev/null || true)
    if [ -z "$known" ]; then
        printf '%-24s %12d   no baseline\n' "$name" "$found"
        FAILED=1
        continue
    fi
    permille=$(((found - known) * 1000 / known))
    printf '%-24s %12d   baseline %12d   %+d.%d %%\n' "$name" "$found" "$known" $((permille / 10)) $(((permille < 0 ? -permille : permille) % 10))
    if [ $permille -gt $((TOLERANCE * 10)) ]; then
        echo "  slower than the baseline by more than $TOLERANCE %: find out why, or tests/instructions.sh --bless, with a reason in the commit" >&2
        FAILED=1
    fi
done
if [ "${1:-}" = --bless ]; then
    printf '%s' "$NEW" >"$BASELINE"
    echo "written to $BASELINE"
elif [ "$FAILED" = 1 ]; then
    exit 1
fi
