#!/usr/bin/env bash
# A whole election on three validators of this machine: 2 of 3 trustees, 2 registrars, 100 voters, some of whom cheat, and a validator
# that is killed before the opening and comes back during the vote. Everything is done with the program's own commands, as people would.
#
#   cargo build --release && examples/election.sh [VOTERS]
#
# Needs python3 and curl beside the program. Writes into a directory of its own, which stays when something fails, or with KEEP=1. The vote is open for SECONDS_OPEN [30, and half of the number of
# voters]; whatever is done takes little beside that.
set -euo pipefail
cd "$(dirname "$0")/.."

VOTERS=${1:-100}
QUORATE=${QUORATE:-$PWD/target/release/quorate}
PORTS=${PORTS:-21700}
SECONDS_OPEN=${SECONDS_OPEN:-$((30 + VOTERS / 2))}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/quorate-election.XXXXXX")
NET=$DIR/net
RPC=http://127.0.0.1:$((PORTS + 1))
OTHER=http://127.0.0.1:$((PORTS + 2))
export QUORATE_PASSPHRASE="correct horse battery"

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# refused WORDS COMMAND..: the command must fail, and say why.
refused() {
    local words=$1 said; shift
    if said=$("$@" 2>&1); then fail "accepted, though '$words' was due: $*"; fi
    grep -q "$words" <<<"$said" || fail "'$words' was due, not: $said"
    printf 'refused, as it should be: %s\n' "$(tail -1 <<<"$said" | cut -c1-150)"
}

"$QUORATE" devnet --dir "$NET" --ports-from "$PORTS" --block-interval-ms 0 --delta-ms 100 \
    >"$DIR/devnet.log" 2>&1 &
DEVNET=$!
stop() { kill -TERM "$DEVNET" 2>/dev/null || true; wait "$DEVNET" 2>/dev/null || true; }
trap stop EXIT
for _ in $(seq 300); do curl -sf "$OTHER/ready" >/dev/null && curl -sf "$RPC/ready" >/dev/null && break; sleep 0.1; done
curl -sf "$RPC/ready" >/dev/null || fail "the network does not start: $(tail -3 "$DIR/devnet.log")"

step "keys of officers"
cd "$DIR"
for role in registrar-1 registrar-2 trustee-1 trustee-2 trustee-3; do
    "$QUORATE" election key --role "${role%-*}" "$role.json" --json | field public_key >"$role.pub"
done
ADMIN=$NET/keys/election-admin.secret.json

step "the draft"
NOW=$(date +%s)
# Time enough to make the key and enrol; the vote begins at once and ends in time for this script.
cat >election.toml <<EOF
title = "Council of the example"
opens = $(date -u -d "@$((NOW))" +%FT%TZ)
closes = $(date -u -d "@$((NOW + SECONDS_OPEN))" +%FT%TZ)
ballots_min = 10
registrars_needed = 2
registrars = ["$(<registrar-1.pub)", "$(<registrar-2.pub)"]
trustees_needed = 2
trustees = ["$(<trustee-1.pub)", "$(<trustee-2.pub)", "$(<trustee-3.pub)"]
[[contest]]
title = "Chair"
least = 1
most = 1
options = ["Ada", "Grace", "none of them"]
[[contest]]
title = "Board (two at most)"
least = 0
most = 2
options = ["Barbara", "Edsger", "Leslie", "Tony"]
EOF
DRAFT=$("$QUORATE" election draft --spec election.toml --secret "$ADMIN" --rpc "$RPC" --json | field draft)
echo "draft $DRAFT"
refused "open.early\|not opened\|not sealed" "$QUORATE" election open "$DRAFT" --secret "$ADMIN" --rpc "$RPC"

step "the key, by three trustees at once"
for n in 1 2 3; do
    "$QUORATE" trustee ceremony "$DRAFT" --secret "trustee-$n.json" --state "trustee-$n.state.json" --rpc "$RPC" --wait --within 60 &
    eval "T$n=\$!"
done

step "enrolment of $VOTERS voters"
for n in $(seq "$VOTERS"); do
    "$QUORATE" enrol request "$DRAFT" --identity "voter-$n@example.org" --out "voter-$n" --no-passphrase >/dev/null
done
"$QUORATE" enrol request "$DRAFT" --identity "voter-1@example.org" --out twice --no-passphrase >/dev/null
"$QUORATE" enrol add --roll roll.json voter-*.request.json
refused "in the roll already" "$QUORATE" enrol add --roll roll.json twice.request.json
sed 's/voter-2@/mallory@/' voter-2.request.json >stolen.request.json
refused "does not have the credential's secret" "$QUORATE" enrol add --roll roll.json stolen.request.json
"$QUORATE" enrol publish --roll roll.json --secret registrar-1.json --rpc "$RPC"
for n in 1 2; do "$QUORATE" enrol sign --roll roll.json --secret "registrar-$n.json" --out "signature-$n.json"; done
refused "list.quorum" "$QUORATE" enrol seal --roll roll.json --signature signature-1.json --rpc "$RPC"
"$QUORATE" enrol seal --roll roll.json --signature signature-1.json --signature signature-2.json --rpc "$RPC"
wait "$T1" "$T2" "$T3"

step "opening, while a validator is away"
PID=$(python3 -c 'import json,sys; print([n["pid"] for n in json.load(open(sys.argv[1])) if n["name"]=="validator-3"][0])' "$NET/nodes.json")
kill -9 "$PID"
EID=$("$QUORATE" election open "$DRAFT" --secret "$ADMIN" --rpc "$RPC" --json | field eid)
"$QUORATE" election show "$EID" --rpc "$RPC"
"$QUORATE" export --rpc "$RPC" before.export

vote() { # voter, chair, node
    "$QUORATE" vote encrypt "$EID" --secret "voter-$1.secret.json" --choose "1=$2" --choose "2=1,$((2 + $1 % 3))" --out "ballot-$1.json" --rpc "$3" >/dev/null
    "$QUORATE" vote cast "ballot-$1.json" --secret "voter-$1.secret.json" --receipt "receipt-$1.json" --rpc "$3" >"cast-$1.log" 2>&1
}

step "cheats"
"$QUORATE" vote encrypt "$EID" --secret voter-1.secret.json --choose 1=1 --out probe.json --rpc "$RPC"
"$QUORATE" vote audit probe.json --openings probe.json.openings
refused "was audited" "$QUORATE" vote cast probe.json --secret voter-1.secret.json --rpc "$RPC"
refused "choose 1 to 1" "$QUORATE" vote encrypt "$EID" --secret voter-1.secret.json --choose 1=1,2 --out greedy.json --rpc "$RPC"
refused "not in the election's list" "$QUORATE" vote encrypt "$EID" --secret twice.secret.json --choose 1=1 --out ghost.json --rpc "$RPC"
"$QUORATE" vote encrypt "$EID" --secret voter-2.secret.json --choose 1=1 --out second.json --rpc "$RPC" >/dev/null
vote 2 2 "$RPC" || fail "$(<cast-2.log)"
refused "duplicate" "$QUORATE" vote cast second.json --secret voter-2.secret.json --rpc "$OTHER"
refused "encrypted for another credential" "$QUORATE" vote cast ballot-2.json --secret voter-3.secret.json --rpc "$RPC"
"$QUORATE" vote encrypt "$EID" --secret voter-3.secret.json --choose 1=1 --out forged.json --rpc "$RPC" >/dev/null
"$QUORATE" vote cast forged.json --secret voter-3.secret.json --out forged.tx.json >/dev/null
python3 - <<'EOF'
import json
t = json.load(open("forged.tx.json"))
b = bytearray.fromhex(t["bytes"][2:])
b[400] ^= 1
t["bytes"] = "0x" + b.hex()
json.dump(t, open("forged.tx.json", "w"))
EOF
refused "V2[234] ballot" "$QUORATE" election send forged.tx.json --rpc "$RPC"
refused "nobody can end it before\|close.early" "$QUORATE" election close "$EID" --rpc "$RPC"

step "two ballots of one voter at two validators at once"
for which in a b; do
    "$QUORATE" vote encrypt "$EID" --secret voter-4.secret.json --choose "1=1" --out "at-once-$which.json" --rpc "$RPC" >/dev/null
done
"$QUORATE" vote cast at-once-a.json --secret voter-4.secret.json --rpc "$RPC" >once-a.log 2>&1 & A=$!
"$QUORATE" vote cast at-once-b.json --secret voter-4.secret.json --rpc "$OTHER" >once-b.log 2>&1 & B=$!
WON=0
wait "$A" && WON=$((WON + 1))
wait "$B" && WON=$((WON + 1))
[ "$WON" -le 1 ] || fail "both were told that they count"
for node in "$RPC" "$OTHER"; do
    [ "$("$QUORATE" election show "$EID" --rpc "$node" --json | field ballots)" = 2 ] || fail "not exactly one of them counts at $node"
done
echo "one counts, at both"

step "the vote; the validator comes back on the way, and catches up over the opening and the ballots since"
for n in $(seq "$VOTERS"); do
    [ "$n" = 2 ] || [ "$n" = 4 ] && continue
    if [ "$n" = $((VOTERS / 2)) ]; then
        "$QUORATE" run --config "$NET/validator-3.toml" >"$DIR/validator-3.log" 2>&1 &
        BACK=$!
        trap 'kill -TERM "$BACK" 2>/dev/null || true; stop' EXIT
        echo "validator-3 is back"
    fi
    vote "$n" $((1 + n % 3)) "$([ $((n % 2)) = 0 ] && echo "$RPC" || echo "$OTHER")" || fail "voter $n: $(<"cast-$n.log")"
done
THIRD=http://127.0.0.1:$((PORTS + 3))
for _ in $(seq 300); do "$QUORATE" election list --rpc "$THIRD" 2>/dev/null | grep -q " $VOTERS  *$VOTERS " && break; sleep 0.1; done
"$QUORATE" election list --rpc "$THIRD" | tee list.log
grep -q " $VOTERS  *$VOTERS " list.log || fail "validator-3 has not caught up"
refused "duplicate" "$QUORATE" vote cast second.json --secret voter-2.secret.json --rpc "$THIRD"
"$QUORATE" verify receipt receipt-2.json --genesis "$NET/genesis.toml" --tracker "$(field tracker <ballot-2.json)"

step "the end"
while [ "$(date +%s)" -le $((NOW + SECONDS_OPEN + 1)) ]; do sleep 0.5; done
refused "ballot.late" "$QUORATE" election send forged.tx.json --rpc "$RPC"
"$QUORATE" election close "$EID" --rpc "$OTHER"
"$QUORATE" trustee decrypt "$EID" --secret trustee-1.json --state trustee-1.state.json --genesis "$NET/genesis.toml" --rpc "$RPC"
refused "has no result" "$QUORATE" election result "$EID" --rpc "$RPC"
"$QUORATE" trustee decrypt "$EID" --secret trustee-3.json --state trustee-3.state.json --genesis "$NET/genesis.toml" --rpc "$OTHER"
"$QUORATE" election result "$EID" --rpc "$RPC"

step "checked with nothing but the program, an export and genesis"
kill -TERM "$BACK" 2>/dev/null || true
wait "$BACK" 2>/dev/null || true
trap stop EXIT
stop
"$QUORATE" export --data "$NET/data/validator-1" whole.export
"$QUORATE" verify whole.export --genesis "$NET/genesis.toml"
"$QUORATE" verify-diff before.export whole.export --genesis "$NET/genesis.toml"
"$QUORATE" verify whole.export --genesis "$NET/genesis.toml" --json >report.json
python3 - "$VOTERS" <<'EOF'
import json, sys
report, voters = json.load(open("report.json")), int(sys.argv[1])
election = report["elections"][0]
assert report["valid"] and election["state"] == "decided", election
assert election["ballots"] == election["credentials"] == voters, election
expected = [0, 0, 0]
for n in range(1, voters + 1):
    expected[{2: 1, 4: 0}.get(n, n % 3)] += 1
assert [votes for _, votes in election["result"][0]["options"]] == expected, election["result"]
print("the result is what the voters chose:", expected)
EOF
[ -n "${KEEP:-}" ] || rm -rf "$DIR"
printf '\nThe election is over, and it verifies.\n'
