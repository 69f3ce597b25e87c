// Fields of fixed order: big-endian numbers, framed strings, hexadecimal; and a strict reader whose errors name the field.

/** Why bytes are not what they should be: `field` is which, `reason` is a word. */
export class DecodeError extends Error {
  /** @param {string} field @param {string} reason @param {string} what */
  constructor(field, reason, what) {
    super(`${field}: ${what}`);
    this.field = field;
    this.reason = reason;
  }
}

const uint = (length) => (value) => {
  const bytes = new Uint8Array(length);
  let rest = BigInt(value);
  if (rest < 0n || rest >= 1n << BigInt(8 * length)) throw new RangeError(`${value} does not fit into ${length} bytes`);
  for (let at = length - 1; at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 0xffn);
  return bytes;
};

export const u8 = uint(1);
export const u16 = uint(2);
export const u32 = uint(4);

/** @param {...Uint8Array} parts */
export function concat(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** `u32 length || bytes`. @param {Uint8Array} bytes */
export const lp = (bytes) => concat(u32(bytes.length), bytes);

/** @param {string} text */
export const utf8 = (text) => new TextEncoder().encode(text);

/** @param {Uint8Array} bytes */
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Hexadecimal digits, with or without `0x`. @param {string} text */
export function fromHex(text) {
  const digits = text.startsWith('0x') ? text.slice(2) : text;
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/.test(digits)) throw new TypeError(`\`${text.slice(0, 80)}\` is not hexadecimal`);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** @param {Uint8Array} a @param {Uint8Array} b */
export const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** Reads fields one after the other. */
export class Reader {
  #bytes;
  #at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
  }

  /** @param {string} field @param {number} count */
  take(field, count) {
    const left = this.#bytes.length - this.#at;
    if (count > left) throw new DecodeError(field, 'short', `cut short: ${count} bytes are needed, ${left} are left`);
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }

  /** @param {string} field @param {number} length */
  uint(field, length) {
    return this.take(field, length).reduce((value, byte) => value * 256 + byte, 0);
  }

  finish() {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw new DecodeError('the last field', 'trailing', `${left} bytes follow that do not belong here`);
  }
}
