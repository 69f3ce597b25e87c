// ristretto255 (RFC 9496): strict decoding, and arithmetic on bigint scalars.

import { ristretto255 } from '@noble/curves/ed25519.js';
import { pippenger } from '@noble/curves/abstract/curve.js';
import { DecodeError } from './bytes.js';

export const Point = ristretto255.Point;

/** The order of the group. */
export const ORDER = Point.Fn.ORDER;

/** The base B. */
export const B = Point.BASE;

/** @param {bigint} value */
export const mod = (value) => ((value % ORDER) + ORDER) % ORDER;

/** @param {bigint} value */
export const invert = (value) => Point.Fn.inv(mod(value));

/** An element that is not the identity. @param {Uint8Array} bytes @param {string} field */
export function decodePoint(bytes, field) {
  let point;
  try {
    point = Point.fromBytes(bytes);
  } catch {
    throw new DecodeError(field, field, 'not a canonical ristretto255 encoding');
  }
  // The library takes 32 zero bytes for the identity, which no field may be.
  if (point.is0()) throw new DecodeError(field, field, 'the identity, which is not allowed anywhere');
  return point;
}

/** A little-endian number. @param {Uint8Array} bytes */
export const littleEndian = (bytes) => bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

/** A scalar below the order; never reduced. @param {Uint8Array} bytes @param {string} field */
export function decodeScalar(bytes, field) {
  const value = littleEndian(bytes);
  if (value >= ORDER) throw new DecodeError(field, field, 'not below the group order');
  return value;
}

/** 32 bytes, little-endian. @param {bigint} scalar */
export function encodeScalar(scalar) {
  const bytes = new Uint8Array(32);
  for (let at = 0, rest = scalar; at < 32; at++, rest >>= 8n) bytes[at] = Number(rest & 0xffn);
  return bytes;
}

/** The product; the library refuses zero. @param {InstanceType<typeof Point>} point @param {bigint} scalar */
export const times = (point, scalar) => (scalar === 0n ? Point.ZERO : point.multiply(scalar));

/** The same on public values, in time that depends on them. @param {InstanceType<typeof Point>} point @param {bigint} scalar */
export const timesPublic = (point, scalar) => (scalar === 0n ? Point.ZERO : point.multiplyUnsafe(scalar));

/**
 * The sum of public products.
 * @param {InstanceType<typeof Point>[]} points @param {bigint[]} scalars
 */
export function sumOfProducts(points, scalars) {
  const kept = points.map((point, at) => [point, mod(scalars[at])]).filter(([point, scalar]) => scalar !== 0n && !point.is0());
  return kept.length === 0 ? Point.ZERO : pippenger(Point, kept.map(([point]) => point), kept.map(([, scalar]) => scalar));
}
