//! Elections, audited: every rule of the voting application, by code which shares its formats and no decision with it.
//!
//! Proofs of ballots are checked one by one, not by the sums that validators check them with; lists, manifests, tallies and results are
//! computed from the records alone.

mod ceremony;
mod officers;
mod report;
mod state;
mod votes;

use std::collections::BTreeSet;

use quorate::{Bytes, ChainId, Genesis, Timestamp};
use quorate_ballot::{
    group::Element,
    record::{Body, Kind, Receipt, Transaction, genesis_hash, next_hash, transaction_id},
};

pub use report::{ContestReport, ElectionReport};
use state::{Elections, Id};
pub use votes::AuditedTally;

/// A rule that a transaction breaks.
type Checked<T = Receipt> = Result<T, String>;

/// The elections of a chain.
pub struct VotingAudit {
    chain_id: Id,
    admins: Vec<Element>,
    elections: Elections,
    hash: Id,
}

/// The block whose transactions are checked.
pub(super) struct Place<'a> {
    time: Timestamp,
    /// Which drafts, elections and reveals the block makes itself: nothing may rest on them in it.
    fresh: &'a mut Fresh,
}

/// Records of the block that is being checked.
#[derive(Default)]
pub(super) struct Fresh {
    drafts: BTreeSet<Id>,
    elections: BTreeSet<Id>,
    reveals: BTreeSet<(Id, u32, u16)>,
}

/// `Err` with a rule's number and words.
fn broken<T>(rule: u8, what: impl std::fmt::Display) -> Checked<T> {
    Err(format!("rule V{rule}: {what}"))
}

/// `Err` with a rule's number and words, unless `holds`.
fn must(rule: u8, holds: bool, what: impl FnOnce() -> String) -> Checked<()> {
    if holds { Ok(()) } else { broken(rule, what()) }
}

fn utc(ms: u64) -> String {
    Timestamp(ms).utc()
}

fn hex(id: &Id) -> String {
    format!("0x{}", hex::encode(id))
}

impl VotingAudit {
    /// Begins at genesis.
    ///
    /// # Errors
    ///
    /// In words, when genesis has no admins.
    pub fn new(genesis: &Genesis) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Shared {
            admins: Vec<quorate::Hash>,
        }
        let shared: Shared =
            genesis.application_settings().parse().map_err(|errors| quorate::diagnostics::render(&errors))?;
        let decode = |key: &quorate::Hash| {
            Element::decode(key.as_bytes()).map_err(|problem| format!("the admin {key} {problem}"))
        };
        let admins = shared.admins.iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Self::of(&genesis.chain_id(), admins))
    }

    /// Begins a chain of this id whose genesis names these admins.
    pub fn of(chain_id: &ChainId, admins: Vec<Element>) -> Self {
        let chain_id = *chain_id.as_bytes();
        Self { chain_id, admins, elections: Elections::default(), hash: genesis_hash(&chain_id) }
    }

    /// The application's hash after the blocks so far.
    pub fn hash(&self) -> Id {
        self.hash
    }

    /// What names a transaction.
    pub fn id(transaction: &[u8]) -> Id {
        transaction_id(transaction)
    }

    /// Checks a block's transactions; gives their receipts.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, with the transaction's place.
    pub fn block(&mut self, height: u64, time: Timestamp, transactions: &[Bytes]) -> Result<Vec<Bytes>, String> {
        let at = |index: usize, what: String| format!("transaction {index}: {what}");
        let decode = |(index, bytes): (usize, &Bytes)| {
            let rule = if bytes.first() == Some(&Kind::Draft.byte()) { 4 } else { 1 };
            Transaction::decode(bytes).map_err(|error| at(index, format!("rule V{rule}: {error}")))
        };
        let decoded = transactions.iter().enumerate().map(decode).collect::<Result<Vec<_>, _>>()?;
        if let Some((index, what)) = votes::first_wrong(&self.elections, &decoded) {
            return Err(at(index, what));
        }
        let mut fresh = Fresh::default();
        let mut done = Vec::with_capacity(decoded.len());
        for (index, (transaction, bytes)) in decoded.into_iter().zip(transactions).enumerate() {
            let id = transaction_id(bytes);
            let mut place = Place { time, fresh: &mut fresh };
            let receipt = self.apply(&mut place, id, transaction).map_err(|what| at(index, what))?;
            done.push((id, receipt.encode()));
        }
        self.hash = next_hash(self.hash, height, &done);
        Ok(done.into_iter().map(|(_, receipt)| receipt.into()).collect())
    }

    fn apply(&mut self, place: &mut Place<'_>, id: Id, transaction: Transaction) -> Checked {
        let kind = transaction.body.kind();
        let elections = &mut self.elections;
        match kind {
            Kind::Draft => officers::draft((&self.chain_id, &self.admins), elections, place, &transaction),
            Kind::Entries => officers::entries(elections, place, id, &transaction),
            Kind::List => officers::list(elections, place, &transaction.body),
            Kind::Commitment | Kind::Reveal | Kind::Ack => ceremony::step(elections, place, &transaction),
            Kind::Complaint | Kind::Restart => ceremony::again(elections, place, &transaction),
            Kind::Open => officers::open(elections, place, &transaction),
            Kind::Ballot => votes::ballot(elections, place, id, &transaction.body),
            Kind::Close => votes::close(elections, place, &transaction.body),
            Kind::Share => votes::share(elections, place, id, &transaction),
        }
    }

    /// What the elections came to.
    pub fn report(&self) -> Vec<ElectionReport> {
        report::of(&self.elections)
    }

    /// What a trustee needs to decrypt a closed election; `None` when it is not closed, or void.
    pub fn tally(&self, eid: &Id) -> Option<AuditedTally> {
        votes::tally(&self.elections, eid)
    }
}

/// The body of a kind that was looked at before.
fn unlike<T>(body: &Body) -> Checked<T> {
    broken(1, format!("a transaction of the kind {} has another body", body.kind().name()))
}
