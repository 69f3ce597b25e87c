// Where scalars come from: the system's generator, or a seed for test vectors.

import { u32 } from './bytes.js';
import { encodeScalar, littleEndian, mod } from './group.js';
import { h32, hs } from './hash.js';

/** @param {number} length */
export const randomBytes = (length) => globalThis.crypto.getRandomValues(new Uint8Array(length));

/**
 * A source of scalars: `scalar()` is uniform and not zero; `nonce(secret, statement)` differs for different statements even when random
 * bytes repeat.
 * @typedef {{ scalar(): bigint, nonce(secret: bigint, ...statement: Uint8Array[]): bigint }} Draw
 */

/** @type {Draw} */
export const systemDraw = {
  scalar() {
    for (;;) {
      const scalar = mod(littleEndian(randomBytes(64)));
      if (scalar !== 0n) return scalar;
    }
  },
  nonce(secret, ...statement) {
    for (;;) {
      const nonce = hs('nonce', encodeScalar(secret), randomBytes(32), h32('nonce-statement', ...statement));
      if (nonce !== 0n) return nonce;
    }
  },
};

/** The generator of test vectors: everything drawn is known to whoever knows the seed. @param {Uint8Array} seed @returns {Draw & { drawn(): number }} */
export function vectorDraw(seed) {
  let next = 0;
  const scalar = () => hs('test-rng', seed, u32(next++));
  return { scalar, nonce: scalar, drawn: () => next };
}
