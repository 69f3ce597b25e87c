// What a booth relies on, and what forgers try.

import assert from 'node:assert/strict';
import test from 'node:test';
import { ballot, bytes, credential, group, random, tally } from '../src/index.js';

const { B, Point, times } = group;
const rules = [{ options: 2, lo: 1, hi: 1 }];
const trustee = random.systemDraw.scalar();
const election = { eid: random.randomBytes(32), y: times(B, trustee) };
const secret = random.systemDraw.scalar();
const voter = { index: 3, key: times(B, secret) };
const { body, openings } = ballot.encrypt(election, rules, voter, [[0, 1]]);
const good = ballot.cast(body, secret);
const verify = (encoded, of = election) => ballot.verify(of, rules, ballot.decode(encoded, rules));

test('a ballot is verified, audited and counted', () => {
  verify(good);
  ballot.audit(election, rules, body, openings);
  const sums = tally.sumBallots(rules, [ballot.decode(good, rules)]);
  const counts = sums[0].map(({ alpha, beta }) => tally.logarithm(beta.subtract(times(alpha, trustee)), 1));
  assert.deepEqual(counts, [0, 1]);
});

test('no changed bit and no other length is accepted', () => {
  for (let at = 0; at < good.length; at += 7) {
    const bad = good.slice();
    bad[at] ^= 1 << (at % 8);
    assert.throws(() => verify(bad), `byte ${at}`);
  }
  assert.throws(() => verify(good.slice(0, -1)), { reason: 'short' });
  assert.throws(() => verify(bytes.concat(good, Uint8Array.of(0))), { reason: 'trailing' });
});

test('the identity and numbers that are too large are refused before any arithmetic', () => {
  const put = (at, value) => bytes.concat(good.slice(0, at), value, good.slice(at + 32));
  assert.throws(() => verify(put(37, new Uint8Array(32))), { reason: 'K' });
  assert.throws(() => verify(put(73, new Uint8Array(32))), { reason: 'alpha' });
  for (const scalar of [group.ORDER, group.ORDER + 1n, (1n << 256n) - 1n]) {
    assert.throws(() => verify(put(good.length - 32, group.encodeScalar(scalar))), { reason: 'sig z' });
  }
});

test('a ballot is not another voter\'s, also when the thief signs it', () => {
  const thief = random.systemDraw.scalar();
  const stolen = bytes.concat(body.slice(0, 37), times(B, thief).toBytes(), body.slice(69));
  assert.throws(() => verify(ballot.cast(stolen, thief)), { reason: 'bit-proof' });
  assert.throws(() => verify(good, { ...election, y: times(B, 5n) }), { reason: 'bit-proof' });
  assert.throws(() => verify(good, { ...election, eid: random.randomBytes(32) }), { reason: 'eid' });
});

test('an audit finds a ballot that holds something else', () => {
  assert.throws(() => ballot.audit(election, rules, body, { ...openings, votes: [[1, 0]] }), { reason: 'audit' });
  assert.throws(() => ballot.encrypt(election, rules, voter, [[1, 1]]), RangeError);
  assert.throws(() => ballot.encrypt(election, rules, voter, [[0, 2]]), RangeError);
});

test('what does not fit is refused in words, before anything is computed', () => {
  const refusedFor = (reason, attempt) => assert.throws(attempt, { reason });
  refusedFor('openings', () => ballot.audit(election, rules, body, { ...openings, randomness: [] }));
  refusedFor('openings', () => ballot.audit(election, rules, body, { ...openings, randomness: [[1n, group.ORDER]] }));
  refusedFor('openings', () => ballot.audit(election, rules, body, { ...openings, randomness: [...openings.randomness, [1n]] }));
  refusedFor('K', () => ballot.cast(body, 5n));
  refusedFor('eid', () => ballot.encrypt({ ...election, eid: new Uint8Array(31) }, rules, voter, [[0, 1]]));
  for (const wrong of [{ options: 2, lo: 2, hi: 1 }, { options: 2, lo: 0, hi: 3 }, { options: 65, lo: 0, hi: 1 }, { options: 64, lo: 0, hi: 17 }, { options: 2, lo: 0, hi: 0 }]) {
    refusedFor('rules', () => ballot.decode(good, [wrong]));
  }
});

test('a proof is of its option, contest and sum', () => {
  const two = [{ options: 2, lo: 1, hi: 1 }, { options: 2, lo: 1, hi: 1 }];
  const made = ballot.encrypt(election, two, voter, [[0, 1], [1, 0]]).body;
  const contest = (made.length - 71) / 2;
  const swapped = bytes.concat(made.slice(0, 71), made.slice(71 + contest), made.slice(71, 71 + contest));
  const check = (of, encoded) => ballot.verify(election, of, ballot.decode(ballot.cast(encoded, secret), of));
  check(two, made);
  assert.throws(() => check(two, swapped), { reason: 'bit-proof' });
  // Two of two chosen, proven for exactly two, where one may be.
  const greedy = ballot.encrypt(election, [{ options: 2, lo: 2, hi: 2 }], voter, [[1, 1]]).body;
  assert.throws(() => check(rules, greedy), { reason: 'sum-proof' });
});

test('a code is read as it was shown, and not with a wrong character', () => {
  const code = credential.newCode();
  const shown = credential.showCode(code);
  assert.deepEqual(credential.readCode(shown), code);
  const wrong = shown.slice(0, 5) + (shown[5] === 'a' ? 'b' : 'a') + shown.slice(6);
  assert.throws(() => credential.readCode(wrong));
});

test('a logarithm is found up to its bound and not above', () => {
  for (const v of [0, 1, 99, 100]) assert.equal(tally.logarithm(v === 0 ? Point.ZERO : times(B, BigInt(v)), 100), v);
  assert.equal(tally.logarithm(times(B, 101n), 100), null);
});
