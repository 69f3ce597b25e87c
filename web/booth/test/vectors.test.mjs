// Both implementations, the validators' and this one, reproduce these bytes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { ballot, bytes, group, hash, random, tally } from '../src/index.js';

const vectors = JSON.parse(readFileSync(new URL('../../../ballot/vectors/voting-v1.json', import.meta.url)));
const { fromHex, toHex } = bytes;
const { B, decodePoint, encodeScalar, mod, times } = group;

const rules = [{ options: 3, lo: 1, hi: 1 }, { options: 4, lo: 0, hi: 2 }];
const election = { eid: hash.h32('manifest', fromHex(vectors.manifest)), y: decodePoint(fromHex(vectors.Y), 'Y') };

test('every byte is reproduced', () => {
  const draw = random.vectorDraw(fromHex(vectors.seed));
  const trustees = [0, 1, 2].map(() => [draw.scalar(), draw.scalar()]);
  assert.deepEqual(trustees.map((a) => a.map((one) => toHex(times(B, one).toBytes()))), vectors.trustee_commitments);
  const y = trustees.reduce((sum, [a0]) => sum.add(times(B, a0)), group.Point.ZERO);
  assert.equal(toHex(y.toBytes()), vectors.Y);
  assert.equal(toHex(election.eid), vectors.eid);
  const credentials = [0, 1, 2, 3].map(() => draw.scalar());
  assert.deepEqual(credentials.map((x) => toHex(times(B, x).toBytes())), vectors.credentials);
  vectors.votes.forEach((votes, index) => {
    const voter = { index, key: times(B, credentials[index]) };
    const { body, openings } = ballot.encrypt(election, rules, voter, votes, draw);
    assert.equal(toHex(ballot.tracker(body)), vectors.trackers[index]);
    ballot.audit(election, rules, body, openings);
    assert.equal(toHex(ballot.cast(body, credentials[index], draw)), vectors.ballots[index]);
  });
  draw.scalar(); // Of one negative case.
  const ballots = vectors.ballots.map((one) => ballot.decode(fromHex(one), rules));
  const sums = tally.sumBallots(rules, ballots);
  const th = tally.tallyHash(election.eid, ballots.map((one) => one.tracker), sums);
  assert.equal(toHex(th), vectors.tally_hash);
  const secret = (k) => mod(trustees.reduce((sum, [a0, a1]) => sum + a0 + a1 * BigInt(k), 0n));
  const shares = new Map();
  let at = 0;
  sums.forEach((contest, number) => contest.forEach(({ alpha }, option) => {
    for (const trustee of [1, 3]) {
      const share = tally.decryptOne({ eid: election.eid, th, trustee }, number, option, alpha, secret(trustee), draw);
      const right = vectors.shares[at++];
      assert.deepEqual([toHex(share.d.toBytes()), toHex(encodeScalar(share.c)), toHex(encodeScalar(share.z))], [right.D, right.c, right.z]);
      const key = times(B, secret(trustee));
      assert.ok(tally.checkShare({ eid: election.eid, th, trustee }, key, number, option, alpha, share));
      assert.ok(!tally.checkShare({ eid: election.eid, th: election.eid, trustee }, key, number, option, alpha, share));
      shares.set(`${number} ${option} ${trustee}`, share.d);
    }
  }));
  assert.equal(draw.drawn(), vectors.rng_after);
  const counts = sums.map((contest, number) => contest.map(({ beta }, option) => {
    const parts = new Map([1, 3].map((trustee) => [trustee, shares.get(`${number} ${option} ${trustee}`)]));
    return tally.logarithm(tally.open(beta, parts), vectors.ballots.length);
  }));
  assert.deepEqual(counts, vectors.results);
});

test('the ballots are verified', () => {
  for (const one of vectors.ballots) ballot.verify(election, rules, ballot.decode(fromHex(one), rules));
});

test('every negative case is refused for its reason', () => {
  for (const [name, { bytes: encoded, error }] of Object.entries(vectors.negative)) {
    const attempt = () => ballot.verifyContent(election, rules, ballot.decode(fromHex(encoded), rules));
    assert.throws(attempt, (found) => found.reason === error, `${name}: ${error}`);
  }
  assert.equal(Object.keys(vectors.negative).length, 11);
});
