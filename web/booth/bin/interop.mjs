// Ballots for the other implementation, and its ballots checked here.
//
//   node bin/interop.mjs make COUNT FILE     writes elections with COUNT ballots and their votes
//   node bin/interop.mjs check FILE          verifies every ballot; exits with 1 when one is refused, or the votes are others

import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { ballot, bytes, group, random, tally } from '../src/index.js';

const { fromHex, toHex } = bytes;
const { B, decodePoint, decodeScalar, encodeScalar, times } = group;

/** Ballots of one election. */
const ELECTION_BALLOTS = 50;

const below = (n) => Number(random.systemDraw.scalar() % BigInt(n));

function randomRules() {
  return Array.from({ length: 1 + below(3) }, () => {
    const options = 1 + below(5);
    const hi = 1 + below(options);
    return { options, lo: below(hi + 1), hi };
  });
}

function randomVotes(rules) {
  return rules.map(({ options, lo, hi }) => {
    const bits = Array(options).fill(0);
    for (let left = lo + below(hi - lo + 1); left > 0;) {
      const at = below(options);
      if (bits[at] === 0) {
        bits[at] = 1;
        left--;
      }
    }
    return bits;
  });
}

function makeElection(count) {
  const rules = randomRules();
  const secret = random.systemDraw.scalar();
  const election = { eid: random.randomBytes(32), y: times(B, secret) };
  const ballots = Array.from({ length: count }, (_, index) => {
    const credential = random.systemDraw.scalar();
    const votes = randomVotes(rules);
    const { body } = ballot.encrypt(election, rules, { index, key: times(B, credential) }, votes);
    return { bytes: toHex(ballot.cast(body, credential)), votes };
  });
  return { eid: toHex(election.eid), secret: toHex(encodeScalar(secret)), rules, ballots };
}

/** Verifies an election's ballots, and that each holds its votes. */
function checkElection({ eid, secret, rules, ballots }) {
  const x = decodeScalar(fromHex(secret), 'secret');
  const election = { eid: fromHex(eid), y: decodePoint(times(B, x).toBytes(), 'Y') };
  return ballots.flatMap(({ bytes: encoded, votes }, index) => {
    try {
      const read = ballot.decode(fromHex(encoded), rules);
      ballot.verify(election, rules, read);
      const found = tally.sumBallots(rules, [read]).map((contest) =>
        contest.map(({ alpha, beta }) => tally.logarithm(beta.subtract(times(alpha, x)), 1)));
      return JSON.stringify(found) === JSON.stringify(votes) ? [] : [{ index, reason: `holds ${JSON.stringify(found)}` }];
    } catch (error) {
      return [{ index, reason: error.reason ?? String(error) }];
    }
  });
}

if (!isMainThread) {
  parentPort.postMessage(workerData.count === undefined ? checkElection(workerData.election) : makeElection(workerData.count));
} else {
  const [mode, ...rest] = process.argv.slice(2);
  const inWorker = (data) => new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  /** All jobs, as many at once as there are cores. */
  const all = async (jobs) => {
    const results = [];
    let next = 0;
    const one = async () => {
      while (next < jobs.length) {
        const at = next++;
        results[at] = await inWorker(jobs[at]);
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, one));
    return results;
  };
  if (mode === 'make' && rest.length === 2) {
    const count = Number(rest[0]);
    const sizes = Array.from({ length: Math.ceil(count / ELECTION_BALLOTS) }, (_, at) => Math.min(ELECTION_BALLOTS, count - at * ELECTION_BALLOTS));
    writeFileSync(rest[1], JSON.stringify({ elections: await all(sizes.map((size) => ({ count: size }))) }));
  } else if (mode === 'check' && rest.length === 1) {
    const { elections } = JSON.parse(readFileSync(rest[0]));
    const refused = (await all(elections.map((election) => ({ election })))).flat();
    const checked = elections.reduce((sum, { ballots }) => sum + ballots.length, 0);
    console.log(JSON.stringify({ checked, refused }));
    process.exit(refused.length === 0 ? 0 : 1);
  } else {
    console.error('usage: node bin/interop.mjs make COUNT FILE | check FILE');
    process.exit(2);
  }
}
