// What is hashed: fields in frames under a tag that has one purpose.

import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { concat, lp, u32, utf8 } from './bytes.js';
import { littleEndian, mod } from './group.js';

/** Comes first in every hash. */
export const PROTOCOL = 'quorate-voting/v1';

/** M(tag, f1..fn). @param {string} tag @param {...Uint8Array} fields */
const framed = (tag, ...fields) => concat(lp(utf8(PROTOCOL)), lp(utf8(tag)), u32(fields.length), ...fields.map(lp));

/** SHA-256 of the framed fields. @param {string} tag @param {...Uint8Array} fields */
export const h32 = (tag, ...fields) => sha256(framed(tag, ...fields));

/** SHA-512 of the framed fields, a little-endian number modulo the order. @param {string} tag @param {...Uint8Array} fields */
export const hs = (tag, ...fields) => mod(littleEndian(sha512(framed(tag, ...fields))));

/** The hash that Merkle leaves and nodes are made with. */
export { sha256 };
