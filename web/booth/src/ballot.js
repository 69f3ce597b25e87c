// Ballots: encrypted, audited, cast, read, verified.

import { DecodeError, Reader, concat, same, u16, u32, u8 } from './bytes.js';
import { B, ORDER, Point, decodePoint, decodeScalar, encodeScalar, littleEndian, mod, sumOfProducts, times } from './group.js';
import { h32, hs } from './hash.js';
import { encodeProof, equations, prove, readProof } from './proof.js';
import { randomBytes, systemDraw } from './random.js';

/** @typedef {import('./proof.js').Element} Element */
/** @typedef {{ options: number, lo: number, hi: number }} Contest */
/** @typedef {{ eid: Uint8Array, y: Element }} Election */

const VERSION = 1;
const SIGNATURE_BYTES = 64;
const BIT = [0, 1];

/** Why a ballot is not good; `reason` is a word: a field, `bit-proof`, `sum-proof`, `signature`, .. */
export class BallotError extends Error {
  /** @param {string} reason @param {string} what */
  constructor(reason, what) {
    super(what);
    this.reason = reason;
  }
}

const proofBytes = ([lo, hi]) => (hi - lo + 1) * 96 + (hi - lo) * 32;

/** Bytes of every ballot of these contests. @param {Contest[]} rules */
export const ballotBytes = (rules) =>
  rules.reduce((sum, { options, lo, hi }) => sum + 2 + options * (64 + proofBytes(BIT)) + proofBytes([lo, hi]), 1 + 32 + 4 + 32 + 2 + SIGNATURE_BYTES);

/** What a voter notes: H32("ballot-body", body). @param {Uint8Array} body */
export const tracker = (body) => h32('ballot-body', body);

/** The body of a ballot without its signature. @param {Uint8Array} ballot */
export const bodyOf = (ballot) => ballot.slice(0, ballot.length - SIGNATURE_BYTES);

const add = (pairs) =>
  pairs.reduce((sum, { alpha, beta }) => ({ alpha: sum.alpha.add(alpha), beta: sum.beta.add(beta) }), { alpha: Point.ZERO, beta: Point.ZERO });

function bitStatement({ eid, y }, key, contest, option, { alpha, beta }) {
  return { tag: 'bit-proof', fields: [eid, u32(contest), u32(option), key.toBytes(), y.toBytes(), alpha.toBytes(), beta.toBytes()] };
}

function sumStatement({ eid, y }, key, contest, { lo, hi }, pairs) {
  const ciphertexts = pairs.flatMap(({ alpha, beta }) => [alpha.toBytes(), beta.toBytes()]);
  return { tag: 'sum-proof', fields: [eid, u32(contest), key.toBytes(), y.toBytes(), u32(lo), u32(hi), ...ciphertexts] };
}

/** Contests of an election, options of a contest, and `hi - lo` at most; bytes of a ballot at most. */
const LIMITS = { contests: 16, options: 64, spread: 16, bytes: 64 * 1024 };

/** Rules which an election may have, or an error. @param {Contest[]} rules */
export function checkRules(rules) {
  const whole = ({ options, lo, hi }) => [options, lo, hi].every(Number.isSafeInteger);
  const right = ({ options, lo, hi }) =>
    options >= 1 && options <= LIMITS.options && lo >= 0 && lo <= hi && hi >= 1 && hi <= options && hi - lo <= LIMITS.spread;
  if (rules.length < 1 || rules.length > LIMITS.contests || !rules.every((rule) => whole(rule) && right(rule)) || ballotBytes(rules) > LIMITS.bytes) {
    throw new BallotError('rules', 'these are no contests of an election');
  }
}

/** Choices that the rules allow, or an error. @param {Contest[]} rules @param {number[][]} votes */
export function checkVotes(rules, votes) {
  if (votes.length !== rules.length) throw new RangeError(`there are ${votes.length} contests; the election has ${rules.length}`);
  rules.forEach(({ options, lo, hi }, at) => {
    const chosen = votes[at].reduce((sum, bit) => sum + bit, 0);
    if (votes[at].length !== options || votes[at].some((bit) => bit !== 0 && bit !== 1) || chosen < lo || chosen > hi) {
      throw new RangeError(`contest ${at + 1}: choose ${lo} to ${hi} of ${options} options`);
    }
  });
}

/**
 * Encrypts: the body, which is neither signed nor sent, and what opens it.
 * @param {Election} election @param {Contest[]} rules @param {{ index: number, key: Element }} voter @param {number[][]} votes
 * @param {import('./random.js').Draw} [draw]
 */
export function encrypt(election, rules, { index, key }, votes, draw = systemDraw) {
  checkRules(rules);
  checkVotes(rules, votes);
  if (election.eid.length !== 32) throw new BallotError('eid', 'the election\'s id has 32 bytes');
  const parts = [u8(VERSION), election.eid, u32(index), key.toBytes(), u16(rules.length)];
  const randomness = [];
  rules.forEach((rule, contest) => {
    const bits = votes[contest];
    const all = bits.map(() => draw.scalar());
    const pairs = bits.map((bit, at) => ({ alpha: times(B, all[at]), beta: times(election.y, all[at]).add(bit === 1 ? B : Point.ZERO) }));
    parts.push(u16(rule.options), ...pairs.flatMap(({ alpha, beta }) => [alpha.toBytes(), beta.toBytes()]));
    pairs.forEach((pair, option) => {
      const statement = bitStatement(election, key, contest, option, pair);
      parts.push(encodeProof(prove(statement, BIT, election.y, pair, { r: all[option], value: bits[option] }, draw)));
    });
    const witness = { r: mod(all.reduce((sum, r) => sum + r, 0n)), value: bits.reduce((sum, bit) => sum + bit, 0) };
    const statement = sumStatement(election, key, contest, rule, pairs);
    parts.push(encodeProof(prove(statement, [rule.lo, rule.hi], election.y, add(pairs), witness, draw)));
    randomness.push(all);
  });
  return { body: concat(...parts), openings: { votes, randomness } };
}

const signatureChallenge = (key, noted, r) => hs('cred-sig', key.toBytes(), noted, r.toBytes());

/** Signs a body: only now is it a ballot. @param {Uint8Array} body @param {bigint} secret @param {import('./random.js').Draw} [draw] */
export function cast(body, secret, draw = systemDraw) {
  if (!same(body.slice(37, 69), times(B, secret).toBytes())) {
    throw new BallotError('K', 'the ballot was encrypted for another credential');
  }
  const noted = tracker(body);
  const w = draw.nonce(secret, noted);
  const r = times(B, w);
  const z = mod(w + signatureChallenge(times(B, secret), noted, r) * secret);
  return concat(body, r.toBytes(), encodeScalar(z));
}

/** Reads exactly one ballot of these rules. @param {Uint8Array} bytes @param {Contest[]} rules */
export function decode(bytes, rules) {
  checkRules(rules);
  const right = ballotBytes(rules);
  if (bytes.length < right) throw new DecodeError('ballot', 'short', `${bytes.length} bytes; every ballot has ${right}`);
  if (bytes.length > right) throw new DecodeError('ballot', 'trailing', `${bytes.length} bytes; every ballot has ${right}`);
  const reader = new Reader(bytes);
  const point = (field) => decodePoint(reader.take(field, 32), field);
  const version = reader.uint('version', 1);
  if (version !== VERSION) throw new BallotError('version', `version ${version}; this program knows ${VERSION}`);
  const eid = reader.take('eid', 32);
  const index = reader.uint('index', 4);
  const key = point('K');
  if (reader.uint('contests', 2) !== rules.length) throw new BallotError('contests', 'another number of contests');
  const contests = rules.map(({ options, lo, hi }) => {
    if (reader.uint('options', 2) !== options) throw new BallotError('options', 'another number of options');
    const many = (read) => Array.from({ length: options }, read);
    const pairs = many(() => ({ alpha: point('alpha'), beta: point('beta') }));
    const bits = many(() => readProof(reader, BIT));
    return { pairs, bits, sum: readProof(reader, [lo, hi]) };
  });
  const signature = { r: point('sig R'), z: decodeScalar(reader.take('sig z', 32), 'sig z') };
  reader.finish();
  return { eid, index, key, contests, signature, tracker: tracker(bodyOf(bytes)) };
}

/** All equations of a ballot's proofs, each with the reason for which the ballot is refused when it does not hold. */
function proofEquations(election, rules, { key, contests }) {
  return contests.flatMap(({ pairs, bits, sum }, contest) => {
    const rule = rules[contest];
    const ofBits = pairs.flatMap((pair, option) =>
      equations(bits[option], bitStatement(election, key, contest, option, pair), BIT, election.y, pair).map((terms) => ({ reason: 'bit-proof', terms })));
    const statement = sumStatement(election, key, contest, rule, pairs);
    const ofSum = equations(sum, statement, [rule.lo, rule.hi], election.y, add(pairs)).map((terms) => ({ reason: 'sum-proof', terms }));
    return [...ofBits, ...ofSum];
  });
}

const holds = (terms) => sumOfProducts(terms.map(([point]) => point), terms.map(([, scalar]) => scalar)).is0();

/** Whether all equations hold, by one sum with a random 128-bit weight for each. */
function allHold(all) {
  const [points, scalars] = [[], []];
  for (const terms of all) {
    const weight = littleEndian(randomBytes(16)) + 1n;
    for (const [point, scalar] of terms) {
      points.push(point);
      scalars.push(mod(weight * scalar));
    }
  }
  return sumOfProducts(points, scalars).is0();
}

/** Verifies what a ballot holds, whoever signed it; throws a `BallotError`. @param {Election} election @param {Contest[]} rules */
export function verifyContent(election, rules, ballot) {
  if (!same(ballot.eid, election.eid)) throw new BallotError('eid', 'it is of another election');
  const all = proofEquations(election, rules, ballot);
  if (allHold(all.map(({ terms }) => terms))) return;
  const wrong = all.find(({ terms }) => !holds(terms));
  throw new BallotError(wrong?.reason ?? 'proof', 'a proof is wrong');
}

/** Verifies a ballot; throws a `BallotError`. @param {Election} election @param {Contest[]} rules */
export function verify(election, rules, ballot) {
  if (!same(ballot.eid, election.eid)) throw new BallotError('eid', 'it is of another election');
  const { r, z } = ballot.signature;
  const c = signatureChallenge(ballot.key, ballot.tracker, r);
  if (!holds([[B, z], [r, mod(-1n)], [ballot.key, mod(-c)]])) throw new BallotError('signature', 'it is not signed by its credential');
  verifyContent(election, rules, ballot);
}

/**
 * Benaloh's challenge: recomputes every ciphertext of an opened body; throws unless it holds what the openings say.
 * @param {Election} election @param {Contest[]} rules @param {Uint8Array} body @param {{ votes: number[][], randomness: bigint[][] }} openings
 */
export function audit(election, rules, body, { votes, randomness }) {
  checkVotes(rules, votes);
  const isScalar = (r) => typeof r === 'bigint' && r >= 0n && r < ORDER;
  const fits = (all, at) => all.length === rules[at].options && all.every(isScalar);
  if (randomness.length !== rules.length || !randomness.every(fits)) throw new BallotError('openings', 'they are not for this election\'s contests');
  // Any well-formed signature stands where an unsigned body has none; it is not checked.
  const ballot = decode(concat(body, B.toBytes(), encodeScalar(1n)), rules);
  ballot.contests.forEach(({ pairs }, contest) => pairs.forEach(({ alpha, beta }, option) => {
    const r = randomness[contest][option];
    const right = times(election.y, r).add(votes[contest][option] === 1 ? B : Point.ZERO);
    if (!alpha.equals(times(B, r)) || !beta.equals(right)) throw new BallotError('audit', `contest ${contest + 1}, option ${option + 1}: it does not hold what was shown`);
  }));
  verifyContent(election, rules, ballot);
}
