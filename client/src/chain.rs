//! The chain as validators show it, and checking all of it.

use std::sync::Arc;

use quorate::{Block, Bytes, Hash, Height, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    client::{Client, Disagreement},
    error::{Asked, ClientError},
    health::Health,
    validator::Validator,
};

/// Bytes of blocks that are asked for at a time.
const PAGE_BYTES: u32 = 1 << 20;

/// A validator's last final block, as it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadOf {
    /// Who.
    pub validator: String,
    /// The height.
    pub height: u64,
    /// The block's hash, if it was said.
    pub hash: Option<Hash>,
}

/// How the chain stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainState {
    /// What each validator that answers says of its last final block.
    pub heads: Vec<HeadOf>,
    /// The highest block that all of them have, which is verified to be final at each that shows it.
    pub common: Option<(u64, Hash)>,
    /// Whether all who answer show the same final block there.
    pub agree: bool,
    /// Whoever does not answer, or shows what proves nothing.
    pub failed: Vec<Asked>,
}

/// What a check of the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Integrity {
    /// Whether every block follows from the one before and is final, from genesis to `height`; false when nobody shows such a chain.
    pub valid: bool,
    /// Up to where it was checked.
    pub height: u64,
    /// The hash there.
    pub hash: Hash,
    /// Transactions in these blocks.
    pub transactions: u64,
    /// Who showed them.
    pub validator: String,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
}

impl Client {
    /// Asks all validators for their last final block, and for the proof of the highest one that all of them have. Two valid proofs of different blocks are
    /// reported in [`Client::disagreements`].
    ///
    /// # Errors
    ///
    /// [`ClientError`] when nobody answers.
    pub async fn chain_state(&self) -> Result<ChainState, ClientError> {
        let status = self.refresh_validator_status().await;
        // Whoever failed just now may still have a height, from before.
        let (answering, silent): (Vec<_>, Vec<_>) =
            status.iter().partition(|one| one.failures == 0 && one.status != Health::Unreachable);
        let mut failed: Vec<Asked> = silent
            .iter()
            .map(|one| Asked { validator: one.node_id.clone(), outcome: one.reason.clone().unwrap_or_default() })
            .collect();
        let heads: Vec<HeadOf> = answering
            .iter()
            .filter_map(|one| Some(HeadOf { validator: one.node_id.clone(), height: one.height?, hash: one.hash }))
            .collect();
        if heads.is_empty() {
            return Err(self.unavailable(failed));
        }
        // One that has no block yet shows none, and hides none.
        let lowest = heads.iter().map(|head| head.height).filter(|height| *height > 0).min().unwrap_or(0);
        let with_blocks = heads.iter().filter(|head| head.height > 0).count();
        let mut shown: Vec<(String, Hash)> = Vec::new();
        if lowest > 0 {
            let mut blocks = tokio::task::JoinSet::new();
            for validator in self.validators() {
                if heads.iter().any(|head| head.validator == validator.name() && head.height > 0) {
                    let client = self.clone();
                    blocks.spawn(async move {
                        let block = client.final_block(&validator, Height(lowest)).await;
                        (validator, block)
                    });
                }
            }
            while let Some(joined) = blocks.join_next().await {
                match joined {
                    Ok((validator, Ok(hash))) => shown.push((validator.name().into(), hash)),
                    Ok((validator, Err(outcome))) => failed.push((validator.as_ref(), outcome).into()),
                    Err(_) => {}
                }
            }
        }
        let common = shown.first().map(|(_, hash)| (lowest, *hash));
        let agree = shown.windows(2).all(|pair| matches!(pair, [(_, one), (_, other)] if one == other))
            && shown.len() == with_blocks;
        Ok(ChainState { heads, common, agree: agree || lowest == 0, failed })
    }

    /// The hash of the block at a height, verified to be final.
    async fn final_block(&self, validator: &Arc<Validator>, height: Height) -> Result<Hash, String> {
        let page = self.page(validator, height, 1).await?;
        let (block, proof) = page.into_iter().next().ok_or("it shows no block")?;
        let lie = |what: String| {
            self.caught(validator, format!("its block {height} proves nothing: {what}"));
            what
        };
        let block = Block::decode(block).map_err(|error| lie(error.to_string()))?;
        if block.height() != height {
            return Err(lie(format!("it is of height {}", block.height())));
        }
        self.check_final(&block, &proof).map_err(lie)?;
        self.is_final(validator, height, block.hash());
        Ok(block.hash())
    }

    fn check_final(&self, block: &Block, proof: &[u8]) -> Result<(), String> {
        let (rules, header) = (self.rules(), block.header());
        let chain_id = rules.genesis.chain_id();
        if header.chain_id != chain_id {
            return Err(format!("it is of chain {}, not {chain_id}", header.chain_id));
        }
        if header.validators_hash != rules.genesis.validators().hash() {
            return Err(
                "its validators are not those of genesis; a node that follows the chain checks such changes".into()
            );
        }
        rules.finality.verify(&chain_id, header, proof, rules.genesis.validators()).map_err(|error| error.to_string())
    }

    /// Blocks with proofs, from a height on.
    async fn page(&self, validator: &Validator, from: Height, bytes_max: u32) -> Result<Vec<(Bytes, Bytes)>, String> {
        let within = self.settings().attempt_timeout;
        let called =
            validator.call(&self.0.http, self.settings(), "quorate_blockRange", json!([from.0, bytes_max]), within);
        let answer = called.await.map_err(|error| error.why)?.map_err(|error| error.message)?;
        let bytes = |value: Option<&Value>| {
            let digits = value.and_then(Value::as_str).and_then(|text| text.strip_prefix("0x"));
            digits.and_then(|digits| hex::decode(digits).ok()).map(Bytes::from)
        };
        let blocks = answer.get("blocks").and_then(Value::as_array).ok_or("an answer without blocks")?;
        let pairs = blocks.iter().map(|one| Some((bytes(one.get("block"))?, bytes(one.get("proof"))?)));
        pairs.collect::<Option<Vec<_>>>().ok_or_else(|| "a block that is not hexadecimal".into())
    }

    /// Fetches the whole chain from one validator, or from the next when it fails or shows a wrong one, as far as that validator has it, and checks it: every block's place, roots, time and quorum. What its
    /// transactions do is not executed; a node that follows the chain, or `quorate verify`, does that.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when nobody can show a chain.
    pub async fn verify_integrity(&self) -> Result<Integrity, ClientError> {
        let (mut asked, mut wrong) = (Vec::new(), None);
        for validator in self.candidates() {
            match self.verify_chain_of(&validator).await {
                Ok(found) if found.valid => return Ok(found),
                // One who shows a wrong chain may lie: another may show the right one.
                Ok(found) => {
                    let what = found.problem.clone().unwrap_or_default();
                    self.caught(&validator, format!("its chain is wrong at height {}: {what}", found.height + 1));
                    wrong.get_or_insert(found);
                }
                Err(outcome) => asked.push((validator.as_ref(), outcome).into()),
            }
        }
        wrong.ok_or_else(|| self.unavailable(asked))
    }

    async fn verify_chain_of(&self, validator: &Arc<Validator>) -> Result<Integrity, String> {
        let genesis = &self.rules().genesis;
        let mut found = Integrity {
            valid: true,
            height: 0,
            hash: Hash::new(*genesis.chain_id().as_bytes()),
            transactions: 0,
            validator: validator.name().into(),
            problem: None,
        };
        let mut time = genesis.time();
        loop {
            let page = self.page(validator, Height(found.height + 1), PAGE_BYTES).await?;
            if page.is_empty() {
                return Ok(found);
            }
            // Hundreds of signatures: not on the runtime's own turn.
            let client = self.clone();
            let by = Arc::clone(validator);
            let checked = tokio::task::spawn_blocking(move || {
                for (block, proof) in page {
                    if let Err(problem) = client.follows(&mut found, &mut time, block, &proof) {
                        found.valid = false;
                        found.problem = Some(problem);
                        break;
                    }
                    client.is_final(&by, Height(found.height), found.hash);
                }
                (found, time)
            });
            (found, time) = checked.await.map_err(|error| error.to_string())?;
            if !found.valid {
                return Ok(found);
            }
        }
    }

    /// Whether a block follows on what was found so far.
    fn follows(&self, found: &mut Integrity, time: &mut Timestamp, block: Bytes, proof: &[u8]) -> Result<(), String> {
        let block = Block::decode(block).map_err(|error| error.to_string())?;
        let header = block.header();
        if header.height.0 != found.height + 1 {
            return Err(format!("a block of height {} where {} is due", header.height, found.height + 1));
        }
        if header.parent_hash != found.hash {
            return Err(format!("its parent is {}, not {}", header.parent_hash, found.hash));
        }
        if header.time <= *time {
            return Err("it is not later than the block before".into());
        }
        self.check_final(&block, proof)?;
        *time = header.time;
        found.height = header.height.0;
        found.hash = block.hash();
        found.transactions += block.transactions().len() as u64;
        Ok(())
    }

    /// Notes that two validators answer differently.
    pub(crate) fn answers_differ(&self, about: &str, one: &str, other: &str) {
        self.disagree(Disagreement::Answers { about: about.into(), one: one.into(), other: other.into() });
    }
}
