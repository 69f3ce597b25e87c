// Disjunctive Chaum-Pedersen proofs: a ciphertext holds one of lo, lo + 1, .., hi, and not which.

import { concat } from './bytes.js';
import { B, Point, decodePoint, decodeScalar, encodeScalar, mod, times } from './group.js';
import { hs } from './hash.js';

/** @typedef {InstanceType<typeof Point>} Element */
/** @typedef {{ alpha: Element, beta: Element }} Ciphertext */
/** @typedef {{ tag: string, fields: Uint8Array[] }} Statement */
/** @typedef {{ commitments: [Element, Element][], challenges: bigint[], responses: bigint[] }} Proof */

const sum = (scalars) => scalars.reduce((total, one) => mod(total + one), 0n);

/** @param {Statement} statement @param {[Element, Element][]} commitments */
function challenge({ tag, fields }, commitments) {
  return hs(tag, ...fields, ...commitments.flatMap(([a, b]) => [a.toBytes(), b.toBytes()]));
}

/**
 * Draws w first, then (c, z) of each branch that is not the real one, in rising v.
 * @param {Statement} statement @param {[number, number]} range @param {Element} y @param {Ciphertext} ciphertext
 * @param {{ r: bigint, value: number }} witness @param {import('./random.js').Draw} draw @returns {Proof}
 */
export function prove(statement, [lo, hi], y, { alpha, beta }, { r, value }, draw) {
  const w = draw.nonce(r, ...statement.fields);
  const branches = [];
  for (let v = lo; v <= hi; v++) {
    if (v === value) {
      branches.push({ a: times(B, w), b: times(y, w) });
      continue;
    }
    const c = draw.scalar();
    const z = draw.scalar();
    const shifted = beta.subtract(times(B, BigInt(v)));
    branches.push({ a: times(B, z).subtract(times(alpha, c)), b: times(y, z).subtract(times(shifted, c)), c, z });
  }
  const commitments = branches.map(({ a, b }) => [a, b]);
  const real = branches[value - lo];
  real.c = mod(challenge(statement, commitments) - sum(branches.filter((one) => one !== real).map((one) => one.c)));
  real.z = mod(w + real.c * r);
  return {
    commitments,
    challenges: branches.slice(0, -1).map((one) => one.c),
    responses: branches.map((one) => one.z),
  };
}

/** All commitments, all challenges but the last, all responses. @param {Proof} proof */
export const encodeProof = ({ commitments, challenges, responses }) =>
  concat(...commitments.flatMap(([a, b]) => [a.toBytes(), b.toBytes()]), ...challenges.map(encodeScalar), ...responses.map(encodeScalar));

/** @param {import('./bytes.js').Reader} reader @param {[number, number]} range @returns {Proof} */
export function readProof(reader, [lo, hi]) {
  const many = (count, read) => Array.from({ length: count }, read);
  const point = (field) => decodePoint(reader.take(field, 32), field);
  const scalar = (field) => decodeScalar(reader.take(field, 32), field);
  const count = hi - lo + 1;
  return {
    commitments: many(count, () => [point('A'), point('B')]),
    challenges: many(count - 1, () => scalar('c')),
    responses: many(count, () => scalar('z')),
  };
}

/**
 * The equations of a proof: each is a sum of products that must be the identity, as `[point, scalar]` pairs.
 * @param {Proof} proof @param {Statement} statement @param {[number, number]} range @param {Element} y @param {Ciphertext} ciphertext
 * @returns {[Element, bigint][][]}
 */
export function equations(proof, statement, [lo], y, { alpha, beta }) {
  const last = mod(challenge(statement, proof.commitments) - sum(proof.challenges));
  const challenges = [...proof.challenges, last];
  return proof.commitments.flatMap(([a, b], at) => {
    const [c, z, v] = [challenges[at], proof.responses[at], BigInt(lo + at)];
    return [
      [[B, z], [a, mod(-1n)], [alpha, mod(-c)]],
      [[y, z], [b, mod(-1n)], [beta, mod(-c)], [B, mod(c * v)]],
    ];
  });
}
