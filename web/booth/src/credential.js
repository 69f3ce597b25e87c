// Credentials: the code that a voter keeps, the key made of it, the proof of having it.

import { createBase58check } from '@scure/base';
import { concat } from './bytes.js';
import { B, encodeScalar, mod, times } from './group.js';
import { h32, hs, sha256 } from './hash.js';
import { randomBytes, systemDraw } from './random.js';

const CODE_VERSION = 0x51;
const base58check = createBase58check(sha256);

export const newCode = () => randomBytes(32);

/** The text that a voter writes down. @param {Uint8Array} code */
export const showCode = (code) => base58check.encode(concat(Uint8Array.of(CODE_VERSION), code));

/** @param {string} text */
export function readCode(text) {
  let bytes;
  try {
    bytes = base58check.decode(text.trim());
  } catch {
    throw new TypeError('this is not the code of a credential: look for a missing, doubled or wrong character');
  }
  if (bytes.length !== 33 || bytes[0] !== CODE_VERSION) throw new TypeError('this is not the code of a credential');
  return bytes.slice(1);
}

/** The secret key for the elections of a draft: Hs("cred-key", draft, s). @param {Uint8Array} code @param {Uint8Array} draft */
export const secretOf = (code, draft) => hs('cred-key', draft, code);

/** What stands for a person on the ledger. @param {Uint8Array} identity @param {Uint8Array} salt */
export const pseudonym = (identity, salt) => h32('identity', identity, salt);

/** R || z with c = Hs("cred-pop", draft, pseudonym, K, R). @param {Uint8Array} draft @param {Uint8Array} standsFor @param {bigint} secret */
export function provePossession(draft, standsFor, secret, draw = systemDraw) {
  const key = times(B, secret).toBytes();
  const w = draw.nonce(secret, draft, standsFor, key);
  const r = times(B, w).toBytes();
  return concat(r, encodeScalar(mod(w + hs('cred-pop', draft, standsFor, key, r) * secret)));
}
