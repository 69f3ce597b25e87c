#!/usr/bin/env bash
# Instructions of the hot functions (callgrind), compared with the committed baseline: a guard against slower code which no clock and no busy machine
# can fool.
#
#   tests/instructions.sh [--bless]
#
# A function is run once and four times, so that what comes before it does not count. More than TOLERANCE percent above the baseline fails, and so does
# as much below, and a name which only the program or only the baseline has: --bless writes a new baseline. Counts differ a little from compiler to
# compiler; valgrind hides the newest instruction sets of a processor, so that they hardly differ from machine to machine.
set -euo pipefail
cd "$(dirname "$0")/.."
BASELINE=benches/instructions.txt
TOLERANCE=5
fail() {
    echo "$*" >&2
    exit 1
}
command -v valgrind >/dev/null || fail "valgrind is missing: install it (https://valgrind.org), or leave this test out"
# Cargo itself says where it put the program: an option, a variable or a configuration may name another directory than target.
BUILT=$(cargo build --quiet --locked --profile instructions -p quorate-bench --example hot --message-format=json-render-diagnostics)
HOT=$(sed -n '/"name":"hot"/s/.*"executable":"\([^"]*\)".*/\1/p' <<<"$BUILT")
[ -x "$HOT" ] || fail "cargo did not say where the example hot is: \`$HOT\`"
count() { # NAME TIMES
    local told
    told=$(env -u VALGRIND_OPTS valgrind --tool=callgrind --callgrind-out-file=/dev/null "$HOT" "$1" "$2" 2>&1) || fail "$told"
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$told"
}
is_count() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }
NAMES=$("$HOT") || fail "$HOT failed"
[ -n "$NAMES" ] || fail "$HOT names no function"
FAILED=0
NEW=""
for name in $NAMES; do
    once=$(count "$name" 1)
    four=$(count "$name" 4)
    if ! is_count "$once" || ! is_count "$four" || [ "$four" -le $((once + 2)) ]; then
        fail "$name was not counted: \`$once\` instructions once, \`$four\` four times"
    fi
    found=$(((four - once) / 3))
    NEW+="$name $found"$'\n'
    known=$(sed -n "s/^$name //p" "$BASELINE" 2>/dev/null || true)
    if ! is_count "$known"; then
        printf '%-24s %12d   no baseline\n' "$name" "$found"
        FAILED=1
        continue
    fi
    permille=$(((found - known) * 1000 / known))
    sign=+
    [ "$found" -ge "$known" ] || sign=-
    printf '%-24s %12d   baseline %12d   %s%d.%d %%\n' "$name" "$found" "$known" "$sign" $((${permille#-} / 10)) $((${permille#-} % 10))
    if [ $((found * 100)) -gt $((known * (100 + TOLERANCE))) ]; then
        echo "  slower than the baseline by more than $TOLERANCE %: find out why, or tests/instructions.sh --bless, with a reason in the commit" >&2
        FAILED=1
    elif [ $((found * 100)) -lt $((known * (100 - TOLERANCE))) ]; then
        echo "  below the baseline by more than $TOLERANCE %: tests/instructions.sh --bless keeps what was won, or find out what is left undone" >&2
        FAILED=1
    fi
done
for known in $(sed -n 's/ .*//p' "$BASELINE" 2>/dev/null || true); do
    if ! grep -qxF -- "$known" <<<"$NAMES"; then
        echo "$known is in $BASELINE and was not counted: tests/instructions.sh --bless takes it out" >&2
        FAILED=1
    fi
done
if [ "${1:-}" = --bless ]; then
    printf '%s' "$NEW" >"$BASELINE"
    echo "written to $BASELINE"
elif [ "$FAILED" = 1 ]; then
    exit 1
fi
