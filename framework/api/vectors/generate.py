"""Makes the golden vectors from the documented layouts alone, with nothing but Python's standard library.

    python3 framework/api/vectors/generate.py          writes the three files again
    git diff --exit-code '*/vectors/*.json'            they must not have changed

A second implementation of the formats and of Ed25519 (RFC 8032), so that a test which compares the node with a vector
compares it with the document and not with itself. Slow and not constant-time: for test keys only.
"""

import hashlib
import json
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
KV = HERE.parents[2] / "plugins" / "kv" / "vectors"


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def shown(data):
    return "0x" + data.hex()


def u16(number):
    return struct.pack("<H", number)


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def counted(data):
    """A length and that many bytes, or a count and that many items already encoded."""
    return u32(len(data)) + (data if isinstance(data, bytes) else b"".join(data))


def write(path, about, **content):
    path.write_text(json.dumps({"about": about, **content}, indent=1) + "\n")


# --- Ed25519 ---------------------------------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def inverse(x):
    return pow(x, P - 2, P)


def square_of_x(y):
    return (y * y - 1) * inverse(D * y * y + 1) % P


def even_x(y):
    x = pow(square_of_x(y), (P + 3) // 8, P)
    if (x * x - square_of_x(y)) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x % 2 else x


BASE = (even_x(4 * inverse(5) % P), 4 * inverse(5) % P)


def add(a, b):
    k = D * a[0] * b[0] * a[1] * b[1]
    return (
        (a[0] * b[1] + b[0] * a[1]) * inverse(1 + k) % P,
        (a[1] * b[1] + a[0] * b[0]) * inverse(1 - k) % P,
    )


def times(point, number):
    result = (0, 1)
    while number:
        if number & 1:
            result = add(result, point)
        point = add(point, point)
        number >>= 1
    return result


def encoded(y, sign):
    return (y | sign << 255).to_bytes(32, "little")


def point_bytes(point):
    return encoded(point[1], point[0] & 1)


def modulo_l(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def expanded(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    return scalar, digest[32:]


def public_key(seed):
    return point_bytes(times(BASE, expanded(seed)[0]))


def sign(seed, message):
    scalar, prefix = expanded(seed)
    r = modulo_l(prefix, message)
    commitment = point_bytes(times(BASE, r))
    s = (r + modulo_l(commitment, public_key(seed), message) * scalar) % L
    return commitment + s.to_bytes(32, "little")


def torsion_points():
    """The eight points whose order divides 8, as multiples of one of order 8."""
    y = 0
    while True:
        y += 1
        if (even_x(y) ** 2 - square_of_x(y)) % P:
            continue
        point = times((even_x(y), y), L)
        if times(point, 4) != (0, 1):
            return [times(point, n) for n in range(8)]


def signatures():
    torsion = torsion_points()
    small = [(point_bytes(point), "canonical") for point in torsion]
    canonical = {data for data, _ in small}
    for x, y in torsion:
        for other_y in (y, y + P):
            for sign_bit in (0, 1) if x == 0 else (x & 1,):
                if other_y < 2**255 and encoded(other_y, sign_bit) not in canonical:
                    canonical.add(encoded(other_y, sign_bit))
                    small.append((encoded(other_y, sign_bit), "non-canonical"))
    found = []

    def vector(name, key, message, signature, valid):
        found.append(
            dict(name=name, public_key=shown(key), message=shown(message), signature=shown(signature), valid=valid)
        )

    for i, (key, of_key) in enumerate(small):
        for j, (commitment, of_commitment) in enumerate(small):
            name = f"small-order A {i} ({of_key}), R {j} ({of_commitment}), S = 0"
            vector(name, key, b"Zcash", commitment + bytes(32), True)
    seed, message = bytes([5] * 32), b"quorate"
    scalar, prefix = expanded(seed)
    key, r = public_key(seed), modulo_l(prefix, message)
    commitment = times(BASE, r)

    def completed(key, commitment):
        s = (r + modulo_l(commitment, key, message) * scalar) % L
        return commitment + s.to_bytes(32, "little")

    good = sign(seed, message)
    vector("an ordinary signature", key, message, good, True)
    vector("an ordinary signature of the empty message", key, b"", sign(seed, b""), True)
    for i in range(1, 8):
        moved, moved_key = point_bytes(add(commitment, torsion[i])), point_bytes(add(times(BASE, scalar), torsion[i]))
        name = f"R with torsion {i}: fits the equation only times the cofactor"
        vector(name, key, message, completed(key, moved), True)
        name = f"A with torsion {i}: fits the equation times the cofactor"
        vector(name, moved_key, message, completed(moved_key, point_bytes(commitment)), True)
        vector(f"A and R with torsion {i}", moved_key, message, completed(moved_key, moved), True)
    s = int.from_bytes(good[32:], "little")
    for n in (1, 2, 7):
        more = good[:32] + (s + n * L).to_bytes(32, "little")
        vector(f"S + {n} L: the same signature in other bytes", key, message, more, False)
    vector("S = L with small-order points", small[0][0], b"Zcash", small[0][0] + L.to_bytes(32, "little"), False)
    vector("S with the highest bit set", key, message, good[:63] + bytes([good[63] | 0x80]), False)
    vector("R of all zeros but its sign", key, message, bytes(31) + b"\x80" + good[32:], False)
    y = 2
    while pow(square_of_x(y), (P - 1) // 2, P) != P - 1:
        y += 1
    vector("A is not on the curve", encoded(y, 0), message, good, False)
    vector("R is not on the curve", key, message, encoded(y, 0) + good[32:], False)
    vector("another message", key, b"quorum", good, False)
    vector("another key", public_key(bytes([6] * 32)), message, good, False)
    vector("S of another signature", key, message, good[:32] + sign(seed, b"x")[32:], False)
    vector("all zeros", bytes(32), message, bytes(64), True)
    vector("R swapped for a small-order point", key, message, small[1][0] + good[32:], False)
    return found


# --- quorate ---------------------------------------------------------------------------------------------------------


def leaf(data):
    return sha256(b"\0", data)


def split(leaves):
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return leaves[:left], leaves[left:]


def root(leaves):
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    left, right = split(leaves)
    return sha256(b"\1", root(left), root(right))


def path(leaves, index):
    """The siblings on the way up, the lowest first."""
    if len(leaves) == 1:
        return []
    left, right = split(leaves)
    if index < len(left):
        return path(left, index) + [root(right)]
    return path(right, index - len(left)) + [root(left)]


VALIDATORS = [("validator-1", bytes([0x11] * 32)), ("validator-2", bytes([0x22] * 32)), ("drei ü", bytes([0x33] * 32))]


def validators_bytes(validators):
    return counted([counted(name.encode()) + key for name, key in validators])


def validators_hash(validators):
    return sha256(b"quorate/validators/1\0", validators_bytes(validators))


def genesis():
    text = """# A comment does not count.
chain_name = "vectors"
genesis_time = 2026-02-28T23:59:59.25+01:30
[consensus]
plugin = "poa"
word = "text ü"
number = -5000
flag = true
list = [1, ["two"], { three = 3 }]
[consensus.table]
b = 2
a = 1
when = 2026-01-01T00:00:00Z
[application]
plugin = "kv"
value_bytes_max = 1024
"""
    for name, key in VALIDATORS:
        text += f'[[validator]]\nname = "{name}"\npublic_key = "{shown(key)}"\n'

    def string(value):
        return counted(value.encode())

    def integer(value):
        return b"\1" + struct.pack("<q", value)

    def table(entries):
        return b"\4" + counted([string(key) + value for key, value in sorted(entries.items())])

    consensus = table(
        {
            "word": b"\0" + string("text ü"),
            "number": integer(-5000),
            "flag": b"\2\1",
            "list": b"\3"
            + counted([integer(1), b"\3" + counted([b"\0" + string("two")]), table({"three": integer(3)})]),
            "table": table({"a": integer(1), "b": integer(2), "when": b"\5" + string("2026-01-01T00:00:00Z")}),
        }
    )
    # 2026-02-28T22:29:59.250Z in milliseconds since 1970.
    time = 1_772_317_799_250
    canonical = b"quorate/genesis/1\0" + string("vectors") + u64(time)
    canonical += string("poa") + consensus + string("kv") + table({"value_bytes_max": integer(1024)})
    canonical += validators_hash(VALIDATORS)
    return dict(text=text, time=time, canonical=shown(canonical), chain_id=shown(sha256(canonical)))


def formats():
    chain = bytes(range(32))
    transactions, evidence = [b"one", b"", bytes(range(256)), b"four", b"five"], [b"a proof"]
    outcomes = [b"did one", b"", b"did three", b"did four", b"did five"]
    tx_leaves, outcome_leaves = [leaf(one) for one in transactions], [leaf(one) for one in outcomes]
    fields = dict(
        version=1,
        chain_id=chain,
        height=0x0102030405060708,
        parent_hash=bytes([0xA0] * 32),
        time=1_767_225_600_123,
        creator=2,
        created_round=7,
        tx_root=root(tx_leaves),
        evidence_root=root([leaf(one) for one in evidence]),
        app_hash=bytes([0xA1] * 32),
        receipts_root=root(outcome_leaves),
        validators_hash=validators_hash(VALIDATORS),
        next_validators_hash=validators_hash(VALIDATORS[:1]),
    )
    width = dict(version=u16, height=u64, time=u64, creator=u16, created_round=u32)
    header = b"".join(width[name](value) if name in width else value for name, value in fields.items())
    block_hash = sha256(b"quorate/header/1\0", header)
    block = header + counted([counted(one) for one in transactions]) + counted([counted(one) for one in evidence])
    at = 3

    def path_bytes(steps):
        return u32(at) + u32(len(transactions)) + counted(steps)

    receipt = sha256(transactions[at]) + counted(transactions[at]) + path_bytes(path(tx_leaves, at))
    receipt += counted(outcomes[at]) + path_bytes(path(outcome_leaves, at))
    receipt += header + block_hash + validators_bytes(VALIDATORS) + counted(b"certificate")

    def as_json(value):
        return shown(value) if isinstance(value, bytes) else value

    def path_json(steps):
        return dict(index=at, leaves=len(transactions), steps=[shown(step) for step in steps])

    header_json = {name: as_json(value) for name, value in fields.items()}
    validators_json = [dict(name=name, public_key=shown(key)) for name, key in VALIDATORS]
    receipt_json = dict(
        transaction_id=shown(sha256(transactions[at])),
        transaction=shown(transactions[at]),
        transaction_path=path_json(path(tx_leaves, at)),
        outcome=shown(outcomes[at]),
        outcome_path=path_json(path(outcome_leaves, at)),
        header=header_json,
        block_hash=shown(block_hash),
        validators=validators_json,
        proof=shown(b"certificate"),
    )
    signed = b"quorate/consensus/1\0" + bytes([3]) + chain + struct.pack(">QI", 9, 2) + b"body"
    return dict(
        header=dict(json=header_json, bytes=shown(header), hash=shown(block_hash)),
        block=dict(
            transactions=[shown(one) for one in transactions],
            evidence=[shown(one) for one in evidence],
            bytes=shown(block),
        ),
        receipt=dict(json=receipt_json, bytes=shown(receipt)),
        validators=dict(
            json=validators_json,
            bytes=shown(validators_bytes(VALIDATORS)),
            hash=shown(validators_hash(VALIDATORS)),
        ),
        genesis=genesis(),
        # The leaves of a tree of n are the bytes 0, 1, .., n-1, one byte each.
        merkle_roots=[shown(root([leaf(bytes([at])) for at in range(count)])) for count in range(20)],
        sign_request=dict(
            chain_id=shown(chain), kind=3, height=9, round=2, body=shown(b"body"), bytes=shown(signed),
            digest=shown(sha256(signed)),
        ),
    )  # fmt: skip


# --- kv --------------------------------------------------------------------------------------------------------------


def kv_transaction(name, seed, chain, nonce, key, value):
    unsigned = b"\1" + public_key(seed) + u64(nonce) + counted(key)
    unsigned += b"\0" if value is None else b"\1" + counted(value)
    transaction = unsigned + sign(seed, b"quorate/kv/1\0" + chain + unsigned)
    return dict(
        name=name,
        secret_seed=shown(seed),
        chain_id=shown(chain),
        nonce=str(nonce),
        key=shown(key),
        value=None if value is None else shown(value),
        public_key=shown(public_key(seed)),
        transaction=shown(transaction),
        transaction_id=shown(sha256(transaction)),
    )


def kv_transactions():
    one, chain = bytes([1] * 32), bytes([9] * 32)
    other, other_chain = bytes(range(32)), bytes(range(32, 64))
    nonce = 0x0102030405060708
    return [
        kv_transaction("put", one, chain, 0, b"colour", b"green"),
        kv_transaction("empty value", one, chain, 1, b"colour", b""),
        kv_transaction("delete", one, chain, 2, b"colour", None),
        kv_transaction("other chain and signer", other, other_chain, nonce, b"\x00\xff", bytes(range(256))),
        kv_transaction("longest", bytes([2] * 32), chain, 2**64 - 2, bytes([0xAB] * 64), bytes([0xCD] * 1024)),
    ]


if __name__ == "__main__":
    write(
        HERE / "signatures.json",
        "Ed25519 signatures at the edges, and whether ZIP 215 accepts them: S below L, A and R decode (canonically or "
        "not), and the equation holds times the cofactor. Small-order points: the 8 canonical encodings and the 6 "
        "others, as A and as R, with S = 0.",
        signatures=signatures(),
    )
    write(
        HERE / "formats.json",
        "Bytes and hashes of what nodes exchange and keep. The receipt is of transaction 3 of the block.",
        **formats(),
    )
    write(
        KV / "transactions.json",
        "Transactions of the kv application. Ed25519 signing is deterministic (RFC 8032), so signing the inputs gives "
        "these very bytes. Nonces are decimal text, since JSON numbers lose digits above 2^53.",
        transactions=kv_transactions(),
    )
