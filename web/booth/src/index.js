// The cryptography of Quorate's elections, for browsers and Node. It is an implementation of its own: what this and the validators' agree
// on is not one program's mistake.

export * as ballot from './ballot.js';
export * as bytes from './bytes.js';
export * as credential from './credential.js';
export * as group from './group.js';
export * as hash from './hash.js';
export * as random from './random.js';
export * as tally from './tally.js';
