#!/usr/bin/env bash
# The second implementation of ballots, in JavaScript: its own tests, then each implementation checks random ballots of the other.
#
#   tests/booth.sh [BALLOTS]
set -euo pipefail
cd "$(dirname "$0")/.."
BALLOTS=${1:-1000}
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "node and npm are missing: install Node 20 or newer (https://nodejs.org), or leave this test out" >&2
    exit 1
fi
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
(cd web/booth && npm ci --no-audit --no-fund --silent && npm test --silent >"$DIR/log" 2>&1) || { cat "$DIR/log"; exit 1; }
cargo build --quiet --locked -p quorate-ballot --example interop
INTEROP=${CARGO_TARGET_DIR:-target}/debug/examples/interop
"$INTEROP" make "$BALLOTS" "$DIR/from-rust.json"
node web/booth/bin/interop.mjs check "$DIR/from-rust.json"
node web/booth/bin/interop.mjs make "$BALLOTS" "$DIR/from-booth.json"
"$INTEROP" check "$DIR/from-booth.json"
