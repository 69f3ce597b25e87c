#!/usr/bin/env bash
# The backend's routes against their own description: schemathesis makes requests from GET /openapi.json, good ones and bad ones, and checks every answer.
#
#   tests/gateway.sh [EXAMPLES]
#
# Needs python3 with pip; schemathesis is installed into a folder of its own below the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
EXAMPLES=${1:-25}
TARGET=${CARGO_TARGET_DIR:-target}
ST=$TARGET/schemathesis
if ! command -v python3 >/dev/null || ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "python3 with venv is missing: install it (https://www.python.org), or leave this test out" >&2
    exit 1
fi
if ! "$ST/bin/st" --version >/dev/null 2>&1; then
    python3 -m venv "$ST"
    "$ST/bin/pip" install --quiet --disable-pip-version-check 'schemathesis==4.32.5'
fi
cargo build --quiet --locked -p quorate-node
QUORATE=$PWD/${TARGET#"$PWD/"}/debug/quorate
[ -x "$QUORATE" ] || QUORATE=$TARGET/debug/quorate
# A row of ports that are free now.
PORTS=$(python3 - <<'PY'
import os, socket
def free(port):
    with socket.socket() as s:
        try: s.bind(("127.0.0.1", port)); return True
        except OSError: return False
rows = range(23000 + os.getpid() % 100 * 10, 25000, 10)
print(next(row for row in rows if all(free(row + n) for n in range(10))))
PY
)
DIR=$(mktemp -d)
"$QUORATE" devnet --dir "$DIR/net" --ports-from "$PORTS" --block-interval-ms 0 --delta-ms 100 >"$DIR/log" 2>&1 &
DEVNET=$!
stop() { kill -TERM "$DEVNET" 2>/dev/null || true; wait "$DEVNET" 2>/dev/null || true; rm -rf "$DIR"; }
trap stop EXIT
URL=http://127.0.0.1:$((PORTS + 7))
for _ in $(seq 300); do curl -sf "$URL/ready" >/dev/null && break; sleep 0.1; done
curl -sf "$URL/ready" >/dev/null || { cat "$DIR/log"; exit 1; }
"$QUORATE" election demo --dir "$DIR/net" --rpc "http://127.0.0.1:$((PORTS + 1))" --voters 3 >/dev/null 2>&1
EID=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["election_id"])' "$DIR/net/demo/ballot-1.json")
ID=$(curl -s -d "@$DIR/net/demo/ballot-1.json" "$URL/api/votes/submit" | python3 -c 'import json,sys; print(json.load(sys.stdin)["transaction_id"])')
for _ in $(seq 300); do curl -s "$URL/api/votes/transaction-status?transaction_id=$ID" | grep -q '"confirmed":true' && break; sleep 0.1; done

# Random ids mostly name nothing; then those that are there. Whether a ballot is good no schema can say.
cat >"$DIR/there.toml" <<TOML
[parameters]
transaction_id = "$ID"
election_id = "$EID"
id = "$EID"
TOML
: >"$DIR/random.toml"
for ids in random there; do
    (cd "$DIR" && "$OLDPWD/$ST/bin/st" --config-file "$DIR/$ids.toml" run "$URL/openapi.json" \
        -H "Authorization: Bearer $(<"$DIR/net/admin.token")" --max-examples "$EXAMPLES" --seed 1 --no-color \
        --exclude-checks positive_data_acceptance >"$DIR/st.log" 2>&1) || { cat "$DIR/st.log"; exit 1; }
    grep -E "generated|cases:" "$DIR/st.log" | tail -1
done
# All of that, and it goes on.
curl -sf "$URL/ready" >/dev/null
kill -0 "$DEVNET"
