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
# Most tests wait most of the time: for a network to agree, for a time limit to pass. They run in lanes beside each other. Each lane is a process group of its
# own, so that all of it ends with this script: a build, a shell, valgrind, a network.
said=$(mktemp -d)
running=()
end_all() {
    for group in "${running[@]}"; do kill -- -"$group" 2>/dev/null || true; done
    rm -rf "$said"
}
trap end_all EXIT
beside() { # NAME COMMAND...
    set -m
    { local code=0; "${@:2}" || code=$?; echo "$code" >"$said/$1.code"; } >"$said/$1.log" 2>&1 </dev/null &
    running+=($!)
    set +m
}
# Waits for what was started first, and prints what it said. How it ended is in its file: what the shell knows of a process that ended long ago is lost, or
# another's, when the system has given its number again, as it does here after some ten thousand processes.
finish() { # NAME
    local code group=${running[0]}
    wait "$group" || true
    # The number of the group may be another's from here on.
    running=("${running[@]:1}")
    cat "$said/$1.log"
    code=$(cat "$said/$1.code" 2>/dev/null || echo "it did not end by itself")
    [ "$code" = 0 ] || { echo "FAILED: $1 (exit code: $code)"; return 1; }
}
count() {
    if command -v valgrind >/dev/null; then
        tests/instructions.sh
    else
        echo "LEFT OUT: valgrind is missing; with it this step counts the instructions of the hot functions, and compares with benches/instructions.txt"
    fi
}
# Runs the test programs that are listed, each as cargo does: in its package's folder.
programs() { # LIST [ARGUMENT...]
    local folder program failed=()
    [ -s "$1" ] || { echo "no test program is in the list $(basename "$1")"; return 1; }
    while IFS=$'\t' read -r folder program <&3; do
        printf '\n     Running %s %s\n' "${folder#"$PWD"/}" "$(basename "$program")"
        (cd "$folder" && CARGO_MANIFEST_DIR=$folder "$program" "${@:2}") || failed+=("$program")
    done 3<"$1"
    [ ${#failed[@]} = 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; return 1; }
}
without_networks() {
    local code=0
    programs "$said/others" || code=$?
    cargo test --workspace --locked --doc || code=$?
    return "$code"
}
# New crates are built; then ten thousand ballots go through a storm of kills; then the commands of the documentation are typed, which wait for one another.
long_ones() {
    local code=0
    programs "$said/plugin_new" || code=$?
    programs "$said/gateway" storm:: || code=$?
    programs "$said/readme" || code=$?
    return "$code"
}
beside counts count
step tests
cargo test --workspace --locked --no-run --message-format=json-render-diagnostics >"$said/built"
# Of what was built, the programs that hold tests: the folder of the package, and the program.
sed -n 's|.*"manifest_path":"\([^"]*\)/Cargo.toml".*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*|\1\t\2|p' "$said/built" | sort -u >"$said/all"
# Those of the node start networks, whose ports they choose: they run one after the other. `plugin_new` and `readme` have ports of their own.
grep $'/node\t' "$said/all" | grep -v -e '/plugin_new-' -e '/readme-' >"$said/node"
grep '/plugin_new-' "$said/all" >"$said/plugin_new"
grep '/readme-' "$said/all" >"$said/readme"
grep '/gateway-[^/]*$' "$said/node" >"$said/gateway"
grep -v $'/node\t' "$said/all" >"$said/others"
beside long long_ones
beside others without_networks
# What fails does not keep the rest from being told.
worst=0
programs "$said/node" --skip storm:: || worst=1
step "instructions of the hot functions (counted beside the tests)"
finish counts || worst=1
step "new plugins are built, and ballots go through a storm (beside the tests)"
finish long || worst=1
step "tests without a network of processes, and of the documentation (beside the tests)"
finish others || worst=1
[ "$worst" = 0 ]
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
