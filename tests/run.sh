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
# What mostly waits, or needs no quiet machine, fills the time in which other tests wait. Each is a process group of its own, so that all of it ends with
# this script: a build, a shell, valgrind, a network.
said=$(mktemp -d)
running=()
end_all() {
    for group in "${running[@]}"; do kill -- -"$group" 2>/dev/null || true; done
    rm -rf "$said"
}
trap end_all EXIT
beside() { # NAME COMMAND...
    set -m
    "${@:2}" >"$said/$1" 2>&1 </dev/null &
    running+=($!)
    set +m
}
# Waits for what was started first, and prints what it said.
finish() { # NAME
    local code=0 group=${running[0]}
    wait "$group" || code=$?
    # The number of the group may be another's from here on.
    running=("${running[@]:1}")
    cat "$said/$1"
    return "$code"
}
count() {
    if command -v valgrind >/dev/null; then
        tests/instructions.sh
    else
        echo "LEFT OUT: valgrind is missing; with it this step counts the instructions of the hot functions, and compares with benches/instructions.txt"
    fi
}
beside counts count
step tests
cargo test --workspace --locked --no-run
# Ten thousand ballots through a storm of kills: it takes as long as many others together, and waits for most of it.
beside storm cargo test --workspace --locked --test gateway -- storm::
cargo test --workspace --locked -- --skip storm::
step "instructions of the hot functions (counted beside the tests)"
finish counts
step "ballots through a storm (beside the tests)"
finish storm
step "the backend's routes against their own description"
if command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null; then
    tests/gateway.sh
else
    echo "LEFT OUT: python3 with venv is missing; with it this step has schemathesis ask the backend what its description allows, and what it does not"
fi
step "the second implementation of ballots"
if command -v node >/dev/null && command -v npm >/dev/null; then
    tests/booth.sh
else
    echo "LEFT OUT: node and npm are missing; with Node 20 or newer this step has the JavaScript booth check ballots of Rust, and back"
fi
