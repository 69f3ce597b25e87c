//! Verifying what this node keeps, again and from the beginning: the chain from genesis to its tip, and an election's tally.
//!
//! Every block was executed before it was stored, with every ballot's proofs. What is done here is what can be done again at any time from the stored bytes: each block
//! follows from the one before, its transactions are those of its root, a quorum signed it, and the ballots in it are as many as the application counts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    Block, Bytes, Hash, Height, Timestamp, ValidatorSet,
    node::{Request, Response},
};
use quorate_ballot::{
    ballot::BallotHead,
    group::{Element, Scalar},
    record::{Body, Manifest, SharePart, Transaction},
    tally::{self, Share, ShareOf, Sums},
};
use serde::Serialize;
use serde_json::{Value, json};

use tokio::sync::{Mutex, Semaphore};

use crate::{answer::Problem, gateway::Gateway, outbox::now_ms};

/// Bytes of blocks that are read at a time.
const PAGE_BYTES: u32 = 4 << 20;

/// Requests that may wait for a check at a time: there is one check, and others are told to come again.
const WAITING_MAX: usize = 16;

/// A check from the beginning is given to whoever asks within this time after it, or within so many times what it took: whoever asks again
/// and again does not keep a core busy.
const FRESH_FOR: Duration = Duration::from_secs(1);
const FRESH_TIMES: u32 = 5;

/// Credentials of an election that can be told apart here, as many as a list may have.
const CREDENTIALS_MAX: u32 = quorate_ballot::record::CREDENTIALS_MAX;

/// What a check of the chain found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Chain {
    /// Whether all of it is as it must be.
    pub(crate) chain_valid: bool,
    /// Blocks from height 1 on.
    pub(crate) total_blocks: u64,
    /// Ballots in them, of one election or of all.
    pub(crate) total_votes: u64,
    /// Transactions in them.
    pub(crate) total_transactions: u64,
    /// The last block's hash.
    pub(crate) head_hash: Hash,
    /// What is wrong, if anything is.
    pub(crate) problem: Option<String>,
    /// How long it took.
    pub(crate) took_ms: u64,
    /// When it was done.
    pub(crate) checked_at: String,
}

/// Which credentials of an election have voted.
#[derive(Debug, Clone, Default)]
struct Voted {
    bits: Vec<u64>,
    count: u64,
}

impl Voted {
    /// Notes a vote; false when there was one.
    fn vote(&mut self, credential: u32) -> bool {
        let place = usize::try_from(credential / 64).unwrap_or(usize::MAX);
        if self.bits.len() <= place {
            self.bits.resize(place.saturating_add(1), 0);
        }
        let bit = 1u64 << (credential % 64);
        let Some(word) = self.bits.get_mut(place).filter(|word| **word & bit == 0) else { return false };
        *word |= bit;
        self.count += 1;
        true
    }
}

/// How far the chain was walked, and what was found on the way.
#[derive(Debug, Clone)]
struct Walk {
    height: u64,
    head: Hash,
    time: Timestamp,
    transactions: u64,
    voted: HashMap<[u8; 32], Voted>,
    problem: Option<String>,
    took: Duration,
    ended: Instant,
    ended_at: String,
}

/// Checks the chain of this node, one check at a time.
pub(crate) struct Verifier {
    /// The walk that goes on with the chain, and the last one from the beginning.
    walks: Mutex<(Option<Walk>, Option<Walk>)>,
    room: Semaphore,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { walks: Mutex::default(), room: Semaphore::new(WAITING_MAX) }
    }
}

impl Walk {
    fn begin(gateway: &Gateway) -> Self {
        let genesis = &gateway.rules.genesis;
        Self {
            height: 0,
            head: Hash::new(*genesis.chain_id().as_bytes()),
            time: genesis.time(),
            transactions: 0,
            voted: HashMap::new(),
            problem: None,
            took: Duration::ZERO,
            ended: Instant::now(),
            ended_at: String::new(),
        }
    }

    /// What it found; the ballots are those of one election, or of all.
    fn found(&self, eid: Option<&Hash>) -> Chain {
        let votes = match eid {
            Some(eid) => self.voted.get(eid.as_bytes()).map_or(0, |voted| voted.count),
            None => self.voted.values().map(|voted| voted.count).sum(),
        };
        Chain {
            chain_valid: self.problem.is_none(),
            total_blocks: self.height,
            total_votes: votes,
            total_transactions: self.transactions,
            head_hash: self.head,
            problem: self.problem.clone(),
            took_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            checked_at: self.ended_at.clone(),
        }
    }

    fn follows(
        &mut self,
        gateway: &Gateway,
        validators: &ValidatorSet,
        (block, proof): (Bytes, &[u8]),
    ) -> Result<(), String> {
        let rules = &gateway.rules;
        let block = Block::decode(block).map_err(|error| error.to_string())?;
        let header = block.header();
        let due = self.height + 1;
        if header.height.0 != due {
            return Err(format!("a block of height {} stands where {due} is due", header.height));
        }
        if header.parent_hash != self.head {
            return Err(format!("its parent is {}, not {}", header.parent_hash, self.head));
        }
        if header.time <= self.time {
            return Err("it is not later than the block before".into());
        }
        if header.validators_hash != validators.hash() {
            return Err("it names other validators than this node knows of its height".into());
        }
        let verdict = rules.finality.verify(&rules.genesis.chain_id(), header, proof, validators);
        verdict.map_err(|error| error.to_string())?;
        for transaction in block.transactions() {
            self.transactions += 1;
            let Ok(Transaction { body: Body::Ballot(ballot), .. }) = Transaction::decode(transaction) else { continue };
            let head = BallotHead::read(&ballot).map_err(|error| error.to_string())?;
            if head.index >= CREDENTIALS_MAX || !self.voted.entry(head.eid).or_default().vote(head.index) {
                return Err(format!("credential {} votes twice, or can't be", head.index));
            }
        }
        self.time = header.time;
        self.height = due;
        self.head = block.hash();
        Ok(())
    }

    /// Goes on to the node's tip.
    async fn go_on(mut self, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let begun = Instant::now();
        let unavailable = |why: &str| Problem::later("unavailable", why, 2);
        let status = gateway.status().await.ok_or_else(|| unavailable("this node's chain is not open"))?;
        let tip = status.height.0;
        while self.height < tip && self.problem.is_none() {
            let from = Height(self.height + 1);
            let page = match gateway.node.request(Request::BlockRange { from, bytes_max: PAGE_BYTES }).await {
                Response::Blocks(page) if !page.is_empty() => page,
                Response::Blocks(_) => {
                    self.problem = Some(format!("height {from}: the block is missing"));
                    break;
                }
                Response::Unavailable(why) => return Err(unavailable(&why)),
                _ => return Err(Problem::internal("the node gave another answer than blocks")),
            };
            // Validators may change along the chain: each block is checked with those of its height.
            let mut with_validators = Vec::with_capacity(page.len());
            for ((block, proof), height) in page.into_iter().zip(from.0..=tip) {
                let validators = match gateway.node.request(Request::Validators(Some(Height(height)))).await {
                    Response::Validators { validators, .. } => validators,
                    _ => return Err(unavailable("the node does not tell the validators")),
                };
                with_validators.push((block, proof, validators));
            }
            let shared = Arc::clone(gateway);
            let checked = tokio::task::spawn_blocking(move || {
                for (block, proof, validators) in with_validators {
                    if let Err(what) = self.follows(&shared, &validators, (block, &proof)) {
                        self.problem = Some(format!("height {}: {what}", self.height + 1));
                        break;
                    }
                }
                self
            });
            self = checked.await.map_err(|error| Problem::internal(error.to_string()))?;
        }
        if let Some(problem) = &self.problem {
            tracing::error!(problem, "the chain of this node is not what it must be");
        }
        self.ended = Instant::now();
        self.took = begun.elapsed();
        self.ended_at = Timestamp(now_ms()).utc();
        Ok(self)
    }
}

fn busy() -> Problem {
    Problem::later("busy", "the chain is being checked, and others wait for that already", 2)
}

/// The chain as far as it is now, each block of it checked once since this node started. Counts the ballots of `eid`.
pub(crate) async fn grown(gateway: &Arc<Gateway>, eid: &Hash) -> Result<Chain, Problem> {
    let _room = gateway.verification.room.try_acquire().map_err(|_| busy())?;
    let mut walks = gateway.verification.walks.lock().await;
    let walk = match &walks.0 {
        // What was wrong may have been a disk's mistake: it is looked at again.
        Some(walk) if walk.problem.is_none() => walk.clone(),
        _ => Walk::begin(gateway),
    };
    let walk = walk.go_on(gateway).await?;
    let found = walk.found(Some(eid));
    walks.0 = Some(walk);
    Ok(found)
}

/// Checks the whole chain again, from genesis to its tip, as the store has it; a check that is over since a moment counts for others too. Counts the ballots
/// of `eid`, or all.
pub(crate) async fn anew(gateway: &Arc<Gateway>, eid: Option<&Hash>) -> Result<Chain, Problem> {
    let _room = gateway.verification.room.try_acquire().map_err(|_| busy())?;
    let mut walks = gateway.verification.walks.lock().await;
    if let Some(last) = &walks.1
        && last.ended.elapsed() < FRESH_FOR.max(last.took * FRESH_TIMES)
    {
        return Ok(last.found(eid));
    }
    let walk = Walk::begin(gateway).go_on(gateway).await?;
    let found = walk.found(eid);
    walks.0 = Some(walk.clone());
    walks.1 = Some(walk);
    Ok(found)
}

/// Whether the trustees' shares prove the result: `None` before there is one.
pub(crate) async fn tally(gateway: &Gateway, eid: &Hash) -> Result<Option<Result<(), String>>, Problem> {
    let ask = |path: &'static str| {
        let params = json!({ "id": eid });
        async move { gateway.query(path, params).await.map_err(|error| Problem::of_query(&error)) }
    };
    let told = ask("tally").await?;
    if told.get("result").is_none_or(Value::is_null) {
        return Ok(None);
    }
    let (manifest, shares) = (ask("manifest").await?, ask("shares").await?);
    let checked = tokio::task::spawn_blocking(move || check_tally(&told, &manifest, &shares));
    checked.await.map(Some).map_err(|error| Problem::internal(error.to_string()))
}

fn bytes_of(value: Option<&Value>) -> Option<Vec<u8>> {
    hex::decode(value?.as_str()?.strip_prefix("0x")?).ok()
}

fn array_of<const N: usize>(value: Option<&Value>) -> Option<[u8; N]> {
    bytes_of(value)?.try_into().ok()
}

fn check_tally(told: &Value, manifest: &Value, shares: &Value) -> Result<(), String> {
    let unlike = |what: &str| format!("the application's answer has no {what}");
    let manifest = bytes_of(manifest.get("bytes")).ok_or_else(|| unlike("manifest"))?;
    let manifest = Manifest::decode(&manifest).map_err(|error| error.to_string())?;
    let rules = manifest.draft.rules().map_err(|error| error.to_string())?;
    let sums: Option<Vec<Vec<u8>>> = told
        .get("sums")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(|one| bytes_of(Some(one))).collect());
    let sums = Sums::decode(&rules, &sums.unwrap_or_default().concat()).map_err(|error| error.to_string())?;
    let th = array_of::<32>(told.get("th")).ok_or_else(|| unlike("th"))?;
    let ballots = told.get("ballots").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
    let ballots = ballots.ok_or_else(|| unlike("ballots"))?;
    let mut proven: Vec<(u16, Vec<SharePart>)> = Vec::new();
    for share in shares.get("shares").and_then(Value::as_array).into_iter().flatten() {
        let Some(parts) = share.get("parts").and_then(Value::as_array) else { continue };
        let trustee = share.get("trustee").and_then(Value::as_u64).and_then(|trustee| u16::try_from(trustee).ok());
        let trustee = trustee.ok_or_else(|| unlike("trustee"))?;
        let read = |part: &Value| {
            let (d, c, z) = (array_of(part.get("d"))?, array_of(part.get("c"))?, array_of(part.get("z"))?);
            let scalar = |bytes: [u8; 32]| Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes));
            Some(SharePart { d: Element::decode(&d).ok()?, c: scalar(c)?, z: scalar(z)? })
        };
        let parts: Option<Vec<SharePart>> = parts.iter().map(read).collect();
        let parts = parts.ok_or_else(|| unlike("share that can be read"))?;
        let key = usize::from(trustee).checked_sub(1).and_then(|at| manifest.x.get(at));
        let key = key.ok_or_else(|| format!("trustee {trustee} has no key"))?;
        let of = ShareOf { eid: manifest.eid(), tally: th, trustee };
        tally::check_share(&of, &rules, &sums, key, &parts).map_err(|at| {
            format!("the share of trustee {trustee} is wrong at contest {}, option {}", at.contest, at.option)
        })?;
        proven.push((trustee, parts));
    }
    let all: Vec<Share<'_>> = proven.iter().map(|(trustee, parts)| Share { trustee: *trustee, parts }).collect();
    let needed = usize::from(manifest.draft.trustees.needed);
    let counts = tally::count(&rules, &sums, ballots, &all, needed).map_err(|error| error.to_string())?;
    let said: Vec<u64> = told
        .get("result")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .flat_map(|contest| contest.as_array().into_iter().flatten().filter_map(Value::as_u64))
        .collect();
    if counts.iter().copied().map(u64::from).eq(said.iter().copied()) {
        Ok(())
    } else {
        Err(format!("the shares give {counts:?}, the application says {said:?}"))
    }
}
