// The tally: sums, their hash, trustees' shares, counts.

import { u32 } from './bytes.js';
import { B, Point, invert, mod, sumOfProducts, times } from './group.js';
import { h32, hs } from './hash.js';
import { systemDraw } from './random.js';

/** Sums of all ballots: for every contest and option (alpha, beta). @param {import('./ballot.js').Contest[]} rules */
export function sumBallots(rules, ballots) {
  const sums = rules.map(({ options }) => Array.from({ length: options }, () => ({ alpha: Point.ZERO, beta: Point.ZERO })));
  for (const { contests } of ballots) {
    contests.forEach(({ pairs }, contest) => pairs.forEach(({ alpha, beta }, option) => {
      const sum = sums[contest][option];
      sums[contest][option] = { alpha: sum.alpha.add(alpha), beta: sum.beta.add(beta) };
    }));
  }
  return sums;
}

/** th: which ballots are counted, and what is decrypted. @param {Uint8Array} eid @param {Uint8Array[]} trackers */
export const tallyHash = (eid, trackers, sums) =>
  h32('tally', eid, u32(trackers.length), ...trackers, ...sums.flat().flatMap(({ alpha, beta }) => [alpha.toBytes(), beta.toBytes()]));

function shareChallenge({ eid, th, trustee }, key, contest, option, a, d, first, second) {
  return hs('decrypt-proof', eid, th, u32(trustee), key.toBytes(), u32(contest), u32(option), a.toBytes(), d.toBytes(), first.toBytes(), second.toBytes());
}

/** A trustee's share of one sum, with its proof. */
export function decryptOne(of, contest, option, a, secret, draw = systemDraw) {
  const d = times(a, secret);
  const w = draw.nonce(secret, of.eid, of.th, u32(contest), u32(option), d.toBytes());
  const c = shareChallenge(of, times(B, secret), contest, option, a, d, times(B, w), times(a, w));
  return { d, c, z: mod(w + c * secret) };
}

/** Whether a share's proof is right. */
export function checkShare(of, key, contest, option, a, { d, c, z }) {
  const first = sumOfProducts([B, key], [z, -c]);
  const second = sumOfProducts([a, d], [z, -c]);
  return shareChallenge(of, key, contest, option, a, d, first, second) === c;
}

/** The sum without its secret: beta minus the shares, by Lagrange at 0. @param {Map<number, InstanceType<typeof Point>>} shares */
export function open(beta, shares) {
  const numbers = [...shares.keys()].map(BigInt);
  const lambda = (k) => numbers.filter((m) => m !== k).reduce((product, m) => mod(product * m * invert(m - k)), 1n);
  return beta.subtract(sumOfProducts([...shares.values()], numbers.map(lambda)));
}

/** The v in 0..max with vB = point, or null: baby steps and giant steps. @param {number} max */
export function logarithm(point, max) {
  const step = Math.floor(Math.sqrt(max)) + 1;
  const baby = new Map();
  let at = Point.ZERO;
  for (let v = 0; v < step; v++, at = at.add(B)) baby.set(at.toHex(), v);
  let rest = point;
  for (let taken = 0; taken * step <= max; taken++, rest = rest.subtract(at)) {
    const v = baby.get(rest.toHex());
    if (v !== undefined && taken * step + v <= max) return taken * step + v;
  }
  return null;
}
