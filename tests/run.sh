#!/usr/bin/env bash
# All checks, the quick ones first: formatting, lints, documentation, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }
step formatting
cargo fmt --all --check
step lints
cargo clippy --workspace --all-targets --locked -- -D warnings
step documentation
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
# Counting instructions needs no quiet machine: it fills the time in which tests wait.
counts=$(mktemp)
count() {
    if command -v valgrind >/dev/null; then
        tests/instructions.sh
    else
        echo "LEFT OUT: valgrind is missing; with it this step counts the instructions of the hot functions, and compares with benches/instructions.txt"
    fi
}
# A process group of its own, so that all of it ends with this script: a build, a shell, valgrind.
set -m
count >"$counts" 2>&1 </dev/null &
counting=$!
set +m
trap 'kill -- -"$counting" 2>/dev/null || true; rm -f "$counts"' EXIT
step tests
cargo test --workspace --locked
step "the backend's routes against their own description"
if command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null; then
    tests/gateway.sh
else
    echo "LEFT OUT: python3 with venv is missing; with it this step has schemathesis ask the backend what its description allows, and what it does not"
fi
step "instructions of the hot functions (counted beside the tests)"
counted=0
wait "$counting" || counted=$?
# The number of the group may be another's from here on.
trap 'rm -f "$counts"' EXIT
cat "$counts"
[ "$counted" = 0 ] || exit 1
step "the second implementation of ballots"
if command -v node >/dev/null && command -v npm >/dev/null; then
    tests/booth.sh
else
    echo "LEFT OUT: node and npm are missing; with Node 20 or newer this step has the JavaScript booth check ballots of Rust, and back"
fi
