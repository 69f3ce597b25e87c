//! Verifying what this node keeps, again and from the beginning: the chain from genesis to its tip, and an election's tally.
//!
//! Every block was executed before it was stored, with every ballot's proofs. What is done here is what can be done again at any time from the stored bytes: each block
//! follows from the one before, its transactions are those of its root, a quorum signed it, and the ballots in it are as many as the application counts.

use std::{collections::HashSet, sync::Arc, time::Instant};

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

use crate::{answer::Problem, gateway::Gateway};

/// Bytes of blocks that are read at a time.
const PAGE_BYTES: u32 = 4 << 20;

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
}

struct Walk {
    found: Chain,
    time: Timestamp,
    eid: Option<[u8; 32]>,
    seen: HashSet<([u8; 32], u32)>,
}

impl Walk {
    fn follows(
        &mut self,
        gateway: &Gateway,
        validators: &ValidatorSet,
        (block, proof): (Bytes, &[u8]),
    ) -> Result<(), String> {
        let rules = &gateway.rules;
        let block = Block::decode(block).map_err(|error| error.to_string())?;
        let header = block.header();
        let due = self.found.total_blocks + 1;
        if header.height.0 != due {
            return Err(format!("a block of height {} stands where {due} is due", header.height));
        }
        if header.parent_hash != self.found.head_hash {
            return Err(format!("its parent is {}, not {}", header.parent_hash, self.found.head_hash));
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
            self.found.total_transactions += 1;
            let Ok(Transaction { body: Body::Ballot(ballot), .. }) = Transaction::decode(transaction) else { continue };
            let head = BallotHead::read(&ballot).map_err(|error| error.to_string())?;
            if self.eid.is_some_and(|eid| eid != head.eid) {
                continue;
            }
            if !self.seen.insert((head.eid, head.index)) {
                return Err(format!("credential {} votes twice", head.index));
            }
            self.found.total_votes += 1;
        }
        self.time = header.time;
        self.found.total_blocks = due;
        self.found.head_hash = block.hash();
        Ok(())
    }
}

/// The last check of the chain, and which election's ballots it counted.
pub(crate) type Last = Option<(Option<[u8; 32]>, Chain)>;

/// As [`chain`]; what was found before is given again while no block has come since.
pub(crate) async fn chain_once(gateway: &Arc<Gateway>, eid: Option<[u8; 32]>) -> Result<Chain, Problem> {
    let mut last = gateway.verification.lock().await;
    let head = gateway.status().await.and_then(|status| status.hash);
    if let Some((of, found)) = last.as_ref()
        && *of == eid
        && Some(found.head_hash) == head
    {
        return Ok(found.clone());
    }
    let found = check_chain(gateway, eid).await?;
    *last = Some((eid, found.clone()));
    Ok(found)
}

/// Checks the whole chain as this node keeps it; counts the ballots of `eid`, or all. One check runs at a time, others wait.
pub(crate) async fn chain(gateway: &Arc<Gateway>, eid: Option<[u8; 32]>) -> Result<Chain, Problem> {
    let mut last = gateway.verification.lock().await;
    let found = check_chain(gateway, eid).await?;
    *last = Some((eid, found.clone()));
    Ok(found)
}

async fn check_chain(gateway: &Arc<Gateway>, eid: Option<[u8; 32]>) -> Result<Chain, Problem> {
    let begun = Instant::now();
    let genesis = &gateway.rules.genesis;
    let mut walk = Walk {
        found: Chain {
            chain_valid: true,
            total_blocks: 0,
            total_votes: 0,
            total_transactions: 0,
            head_hash: Hash::new(*genesis.chain_id().as_bytes()),
            problem: None,
            took_ms: 0,
        },
        time: genesis.time(),
        eid,
        seen: HashSet::new(),
    };
    let tip = gateway.status().await.map_or(0, |status| status.height.0);
    while walk.found.total_blocks < tip && walk.found.chain_valid {
        let from = Height(walk.found.total_blocks + 1);
        let page = match gateway.node.request(Request::BlockRange { from, bytes_max: PAGE_BYTES }).await {
            Response::Blocks(page) if !page.is_empty() => page,
            Response::Blocks(_) => {
                walk.found.chain_valid = false;
                walk.found.problem = Some(format!("height {from}: the block is missing"));
                break;
            }
            Response::Unavailable(why) => return Err(Problem::later("unavailable", why, 2)),
            _ => return Err(Problem::internal("the node gave another answer than blocks")),
        };
        // Validators may change along the chain: each page is checked with those of its blocks' heights.
        let mut with_validators = Vec::with_capacity(page.len());
        for ((block, proof), height) in page.into_iter().zip(from.0..=tip) {
            let validators = match gateway.node.request(Request::Validators(Some(Height(height)))).await {
                Response::Validators { validators, .. } => validators,
                _ => return Err(Problem::later("unavailable", "the node does not tell the validators", 2)),
            };
            with_validators.push((block, proof, validators));
        }
        let shared = Arc::clone(gateway);
        let checked = tokio::task::spawn_blocking(move || {
            for (block, proof, validators) in with_validators {
                if let Err(what) = walk.follows(&shared, &validators, (block, &proof)) {
                    walk.found.chain_valid = false;
                    walk.found.problem = Some(format!("height {}: {what}", walk.found.total_blocks + 1));
                    break;
                }
            }
            walk
        });
        walk = checked.await.map_err(|error| Problem::internal(error.to_string()))?;
    }
    walk.found.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let Some(problem) = &walk.found.problem {
        tracing::error!(problem, "the chain of this node is not what it must be");
    }
    Ok(walk.found)
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
