//! The auditor: replays a chain from genesis and checks every rule by code that no validator decides with.
//!
//! It shares formats with the node (blocks, Merkle trees, signed bytes) and the plugins' pure parts (the application's rules, the
//! proof's decoding), not the kernel's judgement of blocks: a mistake there shows here. Of elections it shares the formats alone, and
//! checks their rules by itself.

mod poa;
mod state;
mod voting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate::{
    Application, Block, Bytes, FinalityProof, Genesis, Hash, Height, PublicKey, Timestamp, TransactionId, ValidatorSet,
    application::{BlockContext, Misbehaviour, Mode, Outcome, RECEIPT_BYTES_MAX},
    consensus::PROOF_BYTES_MAX,
    merkle,
};
use serde::Serialize;

pub use poa::PoaRules;
pub use state::MemoryState;
pub use voting::{AuditedTally, ContestReport, ElectionReport, VotingAudit};

/// Heights back to which a block's evidence may reach.
const EVIDENCE_AGE_MAX: u64 = 100_000;

/// The first rule that a chain breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("block {height}: {reason}")]
pub struct Violation {
    /// The height at which it stands.
    pub height: Height,
    /// Which rule, with what was found and what is right.
    pub reason: String,
}

/// What an audit without a violation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The network.
    pub chain_id: quorate::ChainId,
    /// Its name.
    pub chain_name: String,
    /// Blocks checked; the head's height.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Signatures of validators checked in proofs of finality.
    pub signatures: u64,
    /// Proofs of misbehaviour in blocks.
    pub evidence: u64,
    /// Times at which the validators changed.
    pub validator_changes: u64,
    /// The last block's hash; the chain id when there is none.
    pub head: Hash,
    /// The last block's time, in milliseconds since 1970.
    pub head_time: Timestamp,
    /// The application's hash of its state after the last block, as computed here.
    pub app_hash: Hash,
    /// What became of elections, on a chain of the application voting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elections: Vec<ElectionReport>,
}

/// Checks blocks in order.
pub struct Auditor {
    genesis: Genesis,
    application: Arc<dyn Application>,
    finality: Arc<dyn FinalityProof>,
    poa: Option<PoaRules>,
    voting: Option<VotingAudit>,
    state: MemoryState,
    validators: ValidatorSet,
    /// Validators by the first height from which they hold: evidence is of a height behind.
    history: BTreeMap<Height, ValidatorSet>,
    seen: BTreeSet<TransactionId>,
    offences: BTreeSet<(PublicKey, Height)>,
    report: Report,
}

impl Auditor {
    /// Begins at genesis.
    ///
    /// # Errors
    ///
    /// A [`Violation`] at height 0 when the application or the consensus settings can't begin a chain.
    pub fn new(
        genesis: Genesis,
        application: Arc<dyn Application>,
        finality: Arc<dyn FinalityProof>,
    ) -> Result<Self, Violation> {
        let at_genesis = |reason: String| Violation { height: Height::GENESIS, reason };
        let poa = match genesis.consensus_plugin() {
            "poa" => Some(PoaRules::of(&genesis).map_err(at_genesis)?),
            _ => None,
        };
        let mut state = MemoryState::default();
        let voting = match genesis.application_plugin() {
            "voting" => Some(VotingAudit::new(&genesis).map_err(at_genesis)?),
            _ => None,
        };
        let app_hash = match &voting {
            Some(voting) => Hash::new(voting.hash()),
            None => application.genesis(&mut state).map_err(|error| at_genesis(error.to_string()))?,
        };
        let report = Report {
            chain_id: genesis.chain_id(),
            chain_name: genesis.chain_name().to_owned(),
            blocks: 0,
            transactions: 0,
            signatures: 0,
            evidence: 0,
            validator_changes: 0,
            head: Hash::new(*genesis.chain_id().as_bytes()),
            head_time: genesis.time(),
            app_hash,
            elections: Vec::new(),
        };
        let validators = genesis.validators().clone();
        let history = BTreeMap::from([(Height(1), validators.clone())]);
        Ok(Self {
            genesis,
            application,
            finality,
            poa,
            voting,
            state,
            validators,
            history,
            seen: BTreeSet::new(),
            offences: BTreeSet::new(),
            report,
        })
    }

    /// The height that comes next.
    pub fn next_height(&self) -> Height {
        Height(self.report.blocks + 1)
    }

    /// What was found so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The validators of the next height.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// What was found, with the elections of the chain.
    pub fn finished(&self) -> Report {
        let elections = self.voting.as_ref().map(VotingAudit::report).unwrap_or_default();
        Report { elections, ..self.report.clone() }
    }

    /// The elections, on a chain of the application voting.
    pub fn voting(&self) -> Option<&VotingAudit> {
        self.voting.as_ref()
    }

    /// The application's state after the last block; of elections nothing is in it.
    pub fn state(&self) -> &MemoryState {
        &self.state
    }

    /// Checks the next block. After a violation the auditor has nothing more to say.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn block(&mut self, encoded: Bytes, proof: &Bytes) -> Result<Block, Violation> {
        let height = self.next_height();
        self.check(encoded, proof).map_err(|reason| Violation { height, reason })
    }

    fn check(&mut self, encoded: Bytes, proof: &Bytes) -> Result<Block, String> {
        let block = Block::decode(encoded).map_err(|error| error.to_string())?;
        self.check_place(&block)?;
        self.check_finality(&block, proof)?;
        self.check_transactions(&block)?;
        let misbehaviour = self.check_evidence(&block)?;
        self.execute(&block, &misbehaviour)?;
        let report = &mut self.report;
        report.blocks = block.height().0;
        report.transactions += block.transactions().len() as u64;
        report.evidence += block.evidence().len() as u64;
        report.head = block.hash();
        report.head_time = block.header().time;
        report.app_hash = block.header().app_hash;
        Ok(block)
    }

    fn check_place(&self, block: &Block) -> Result<(), String> {
        let header = block.header();
        same("chain_id", &header.chain_id, &self.report.chain_id)?;
        same("height", &header.height, &self.next_height())?;
        same("parent_hash", &header.parent_hash, &self.report.head)?;
        same("validators_hash", &header.validators_hash, &self.validators.hash())?;
        if header.time <= self.report.head_time {
            return Err(format!("time {} is not after the parent's {}", header.time, self.report.head_time));
        }
        if self.validators.get(header.creator).is_none() {
            return Err(format!("creator {} is not one of {} validators", header.creator, self.validators.len()));
        }
        Ok(())
    }

    fn check_finality(&mut self, block: &Block, proof: &Bytes) -> Result<(), String> {
        if proof.len() > PROOF_BYTES_MAX {
            return Err(format!("proof of finality has {} bytes; the limit is {PROOF_BYTES_MAX}", proof.len()));
        }
        let chain_id = self.report.chain_id;
        let not_final = |error: quorate::consensus::ProofError| format!("not shown to be final: {error}");
        self.finality.verify(&chain_id, block.header(), proof, &self.validators).map_err(not_final)?;
        let certificate = self.finality.certificate(proof).map_err(not_final)?;
        if let Some(rules) = &self.poa {
            rules.check_limits(block)?;
            rules.check_certificate(block.header(), &certificate, &self.validators)?;
        }
        self.report.signatures += certificate.signatures.len() as u64;
        Ok(())
    }

    fn check_transactions(&mut self, block: &Block) -> Result<(), String> {
        for transaction in block.transactions() {
            let id = match &self.voting {
                Some(_) => TransactionId::new(VotingAudit::id(transaction)),
                None => self.application.transaction_id(transaction),
            };
            if !self.seen.insert(id) {
                return Err(format!("transaction {id} is in the chain twice"));
            }
        }
        if self.voting.is_some() {
            return Ok(());
        }
        let verdicts = self.application.verify(&self.state, block.transactions());
        same("number of verdicts of the application", &verdicts.len(), &block.transactions().len())?;
        for (index, verdict) in verdicts.into_iter().enumerate() {
            verdict.map_err(|rejection| format!("transaction {index}: {rejection}"))?;
        }
        Ok(())
    }

    fn check_evidence(&mut self, block: &Block) -> Result<Vec<Misbehaviour>, String> {
        let mut proven = Vec::with_capacity(block.evidence().len());
        for (index, bytes) in block.evidence().iter().enumerate() {
            let wrong = |reason: String| format!("evidence {index}: {reason}");
            let of = self.finality.evidence_height(bytes).map_err(|error| wrong(error.to_string()))?;
            let oldest = block.height().0.saturating_sub(EVIDENCE_AGE_MAX);
            if of == Height::GENESIS || of > block.height() || of.0 < oldest {
                return Err(wrong(format!("is of height {of}, which a block {} can't carry", block.height())));
            }
            let (_, validators) = self.history.range(..=of).next_back().ok_or_else(|| wrong("no validators".into()))?;
            let offence = self
                .finality
                .evidence(&self.report.chain_id, bytes, validators)
                .map_err(|error| wrong(error.to_string()))?;
            if !self.offences.insert((offence.offender, offence.height)) {
                return Err(wrong(format!("{} at height {} is proven twice", offence.offender, offence.height)));
            }
            proven.push(offence);
        }
        Ok(proven)
    }

    fn execute(&mut self, block: &Block, misbehaviour: &[Misbehaviour]) -> Result<(), String> {
        let header = block.header();
        if let Some(voting) = &mut self.voting {
            let receipts = voting.block(header.height.0, header.time, block.transactions())?;
            let app_hash = Hash::new(voting.hash());
            return self.check_outcome(block, Outcome { app_hash, receipts, ..Outcome::default() });
        }
        let context = BlockContext {
            chain_id: header.chain_id,
            height: header.height,
            time: header.time,
            mode: Mode::Apply,
            transactions: block.transactions().into(),
            misbehaviour,
        };
        let outcome = self.application.execute(&mut self.state, &context).map_err(|error| error.to_string())?;
        self.check_outcome(block, outcome)
    }

    fn check_outcome(&mut self, block: &Block, outcome: Outcome) -> Result<(), String> {
        let header = block.header();
        same("number of receipts", &outcome.receipts.len(), &block.transactions().len())?;
        if let Some(long) = outcome.receipts.iter().find(|receipt| receipt.len() > RECEIPT_BYTES_MAX) {
            return Err(format!("a receipt has {} bytes; the limit is {RECEIPT_BYTES_MAX}", long.len()));
        }
        let leaves: Vec<Hash> = outcome.receipts.iter().map(|receipt| merkle::leaf(receipt)).collect();
        same("app_hash", &header.app_hash, &outcome.app_hash)?;
        same("receipts_root", &header.receipts_root, &merkle::root(&leaves))?;
        let next = match outcome.validators {
            Some(list) => ValidatorSet::new(list).map_err(|error| format!("next validators: {error}"))?,
            None => self.validators.clone(),
        };
        same("next_validators_hash", &header.next_validators_hash, &next.hash())?;
        if next != self.validators {
            self.check_change(&next)?;
            self.report.validator_changes += 1;
            self.history.insert(header.height.next(), next.clone());
            self.validators = next;
        }
        Ok(())
    }

    /// One block may exchange fewer than half of the validators, and one in any case: whoever trusts the set before can trust the next.
    fn check_change(&self, next: &ValidatorSet) -> Result<(), String> {
        let keys = |set: &ValidatorSet| set.iter().map(|(_, one)| one.public_key).collect::<BTreeSet<_>>();
        let (before, after) = (keys(&self.validators), keys(next));
        let exchanged = before.difference(&after).count().max(after.difference(&before).count());
        let allowed = 1.max((before.len() - 1) / 2);
        if exchanged > allowed {
            return Err(format!("{exchanged} of {} validators are exchanged at once; {allowed} may be", before.len()));
        }
        Ok(())
    }

    /// The genesis from which the chain was replayed.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }
}

fn same<T: PartialEq + std::fmt::Display>(what: &str, found: &T, right: &T) -> Result<(), String> {
    if found == right { Ok(()) } else { Err(format!("{what} is {found}; it should be {right}")) }
}
