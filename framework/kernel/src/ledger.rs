//! The ledger: genesis state, judging and building blocks, and the one atomic batch by which a block becomes part of the chain.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use quorate::{
    Application, Block, FinalityProof, Genesis, Hash, Header, Height, Round, Storage, Timestamp, TransactionId,
    ValidatorIndex, ValidatorSet,
    application::{Misbehaviour, Mode, Rejection},
    block::{BLOCK_EVIDENCE_MAX, BLOCK_VERSION, EVIDENCE_BYTES_MAX},
    consensus::{BlockLimits, PROOF_BYTES_MAX, ProofError, Tip, Verdict},
    merkle,
    node::{EVIDENCE_LIST_MAX, EvidenceRecord, Pruned},
    storage::{Batch, Snapshot, StorageError},
};

use crate::{
    execute::{self, Executed, Failure, Input, StateView},
    keyed::{IdSet, Keyed},
    layout::{self, ChainReader, StoredBlock},
    packed::Packed,
    prune,
};

/// How many heights back evidence may reach.
pub const EVIDENCE_AGE_MAX: u64 = 100_000;

/// Why the ledger can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store holds another network's chain.
    #[error(
        "the data directory holds chain {found}, genesis is chain {expected}; use the genesis that the data was made with, or another data_dir"
    )]
    WrongChain {
        /// What is stored.
        found: String,
        /// What genesis says.
        expected: String,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The application's genesis failed.
    #[error("the application can't begin the chain: {0}")]
    Application(String),
}

/// Why a block given with a proof of finality is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadBlock {
    /// It is not the next block, or its proof does not convince: whoever gave it is at fault.
    #[error("{0}")]
    NotFinal(String),
    /// It is final, yet this node computes something else.
    #[error("final block {height} {hash} differs from what this node computes: {what}")]
    Conflict {
        /// Its height.
        height: Height,
        /// Its hash.
        hash: Hash,
        /// What differs.
        what: String,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The chain as of one final block, unchanging.
pub struct View {
    /// The last final block.
    pub tip: Tip,
    /// The validators of the next height.
    pub validators: ValidatorSet,
    /// The lowest height whose block is here; those below were removed.
    pub blocks_from: Height,
    /// Everything stored.
    pub snapshot: Box<dyn Snapshot>,
    /// How many proofs of misbehaviour are stored, once it was asked.
    evidence: OnceLock<u64>,
}

impl View {
    /// Says so if the block of a final height was removed.
    pub(crate) fn pruned(&self, height: Height) -> Option<Pruned> {
        let below = Height::GENESIS < height && height < self.blocks_from;
        below.then_some(Pruned { height, blocks_from: self.blocks_from })
    }

    /// The chain in `snapshot`, whose last final block is `tip`.
    pub(crate) fn on(tip: Tip, validators: ValidatorSet, snapshot: Box<dyn Snapshot>) -> Result<Self, StorageError> {
        let blocks_from = ChainReader(snapshot.as_ref()).blocks_from()?;
        Ok(Self { tip, validators, blocks_from, snapshot, evidence: OnceLock::new() })
    }

    /// Reads of the chain.
    pub fn chain(&self) -> ChainReader<'_> {
        ChainReader(self.snapshot.as_ref())
    }

    /// How many proofs of misbehaviour are stored, up to [`EVIDENCE_LIST_MAX`].
    pub(crate) fn evidence_count(&self) -> u64 {
        *self.evidence.get_or_init(|| {
            let found = self.chain().evidence(EVIDENCE_LIST_MAX);
            found.map_or_else(
                |error| {
                    tracing::error!(error = &error as &dyn std::error::Error, "evidence could not be read");
                    0
                },
                |found| found.len() as u64,
            )
        })
    }
}

/// Why a piece of evidence is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untaken {
    /// It proves nothing, whoever looks at it and whenever.
    #[error("{0}")]
    False(String),
    /// Not on this chain as it is now.
    #[error("{0}")]
    NotNow(String),
}

/// An executed block that may become final.
#[derive(Clone)]
pub struct Candidate {
    pub(crate) block: Block,
    pub(crate) ids: Vec<TransactionId>,
    pub(crate) executed: Executed,
    pub(crate) misbehaviour: Vec<Misbehaviour>,
}

/// A judgement of the checker of proofs; its own failure is none.
fn judged<T>(result: Result<T, ProofError>) -> Result<Result<T, ProofError>, StorageError> {
    match result {
        Err(ProofError::Failed(why)) => Err(StorageError::Plugin(why)),
        other => Ok(other),
    }
}

/// What this node knows of a transaction before it looks for it in the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its costly check was done before.
    pub(crate) good: bool,
    /// It is not in the chain up to the tip that was asked about.
    pub(crate) new: bool,
}

/// Tells of transactions, named by their ids, what is known up to the tip at a height: in the order of the ids, and at most as many.
pub(crate) type Knowing<'a> = &'a dyn Fn(Height, &[TransactionId], &[Bytes]) -> Vec<Known>;

/// What was found out of a final block before its parent was part of the chain.
#[derive(Debug, Default)]
pub(crate) struct Foreknown {
    /// Its proof was checked against the validators with this hash, and convinced.
    pub(crate) proven_by: Option<Hash>,
    /// Of its transactions in order; or none.
    pub(crate) ids: Vec<TransactionId>,
    /// Which of them passed [`Application::verify`] on an earlier final state, which holds for ever; or none.
    pub(crate) good: Vec<bool>,
}

/// What proposes a block.
pub(crate) struct Proposal<'a> {
    pub(crate) creator: ValidatorIndex,
    pub(crate) round: Round,
    pub(crate) now: Timestamp,
    pub(crate) transactions: Vec<Bytes>,
    pub(crate) evidence: &'a [Bytes],
}

/// The rules of one network over one store.
pub struct Ledger {
    /// The network.
    pub genesis: Genesis,
    /// Its application.
    pub application: Arc<dyn Application>,
    /// What checks proofs of finality.
    pub finality: Arc<dyn FinalityProof>,
    /// Where the chain is.
    pub storage: Arc<dyn Storage>,
    /// How many of the last blocks are kept; `None`: all.
    pub keep_blocks: Option<u64>,
}

impl Ledger {
    /// Opens the chain, or begins it in one batch in an empty store. It keeps all blocks.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn open(
        genesis: Genesis,
        application: Arc<dyn Application>,
        finality: Arc<dyn FinalityProof>,
        storage: Arc<dyn Storage>,
    ) -> Result<(Self, View), LedgerError> {
        let ledger = Self { genesis, application, finality, storage, keep_blocks: None };
        let snapshot = ledger.storage.snapshot()?;
        match snapshot.get(layout::CHAIN)? {
            None => ledger.begin(snapshot.as_ref())?,
            Some(found) if found.as_ref() == ledger.genesis.chain_id().as_bytes() => {}
            Some(found) => {
                return Err(LedgerError::WrongChain {
                    found: format!("0x{}", hex::encode(found)),
                    expected: ledger.genesis.chain_id().to_string(),
                });
            }
        }
        drop(snapshot);
        let view = ledger.view()?;
        Ok((ledger, view))
    }

    fn begin(&self, empty: &dyn Snapshot) -> Result<(), LedgerError> {
        let mut state = execute::Overlay::new(empty);
        let app_hash =
            self.application.genesis(&mut state).map_err(|error| LedgerError::Application(error.to_string()))?;
        tracing::debug!(%app_hash, "chain begun");
        let tip = Tip {
            height: Height::GENESIS,
            hash: Hash::new(*self.genesis.chain_id().as_bytes()),
            time: self.genesis.time(),
        };
        let mut batch = Batch::new();
        state.into_writes().put_into(&mut batch);
        batch.put(layout::CHAIN, Bytes::copy_from_slice(self.genesis.chain_id().as_bytes()));
        batch.put(layout::GENESIS, Bytes::copy_from_slice(self.genesis.text().as_bytes()));
        batch.put(layout::validators(Height(1)), layout::to_borsh(self.genesis.validators()));
        batch.put(layout::TIP, layout::to_borsh(&tip));
        Ok(self.storage.commit(batch)?)
    }

    /// The chain as it is now.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn view(&self) -> Result<View, StorageError> {
        let snapshot = self.storage.snapshot()?;
        let chain = ChainReader(snapshot.as_ref());
        let tip = chain.tip()?.ok_or_else(|| StorageError::Damaged("the tip is missing".into()))?;
        let validators = chain.validators(tip.height.next())?;
        View::on(tip, validators, snapshot)
    }

    /// What a piece of evidence proves, if it is new enough and not yet in a block.
    pub(crate) fn evidence(&self, view: &View, bytes: &[u8]) -> Result<Result<Misbehaviour, Untaken>, StorageError> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            let why = format!("evidence has {} bytes; the limit is {EVIDENCE_BYTES_MAX}", bytes.len());
            return Ok(Err(Untaken::False(why)));
        }
        let height = match judged(self.finality.evidence_height(bytes))? {
            Ok(height) => height,
            Err(error) => return Ok(Err(Untaken::False(error.to_string()))),
        };
        let next = view.tip.height.next();
        if height == Height::GENESIS || height > next || height.0 + EVIDENCE_AGE_MAX < next.0 {
            return Ok(Err(Untaken::NotNow(format!("evidence of height {height} at height {next}"))));
        }
        let validators = view.chain().validators(height)?;
        let proven = match judged(self.finality.evidence(&self.genesis.chain_id(), bytes, &validators))? {
            Ok(proven) => proven,
            Err(error) => return Ok(Err(Untaken::False(error.to_string()))),
        };
        let offence = layout::offence(&proven.offender, proven.height);
        if view.snapshot.get(&layout::evidence(&offence))?.is_some() {
            return Ok(Err(Untaken::NotNow("evidence is in a block already".into())));
        }
        Ok(Ok(proven))
    }

    /// Checks what can be checked of a block without its proof, and executes it.
    fn execute(
        &self,
        view: &View,
        block: &Block,
        known: Foreknown,
        knowing: Knowing<'_>,
    ) -> Result<Result<Candidate, String>, StorageError> {
        let header = block.header();
        if let Err(why) = self.check_place(view, header) {
            return Ok(Err(why));
        }
        let Foreknown { mut ids, good, .. } = known;
        if ids.len() != block.transactions().len() {
            ids = block.transactions().iter().map(|tx| self.application.transaction_id(tx)).collect();
        }
        if let Some(why) = self.check_transactions(view, (&ids, &good), block.transactions(), knowing)? {
            return Ok(Err(why));
        }
        let misbehaviour = match self.check_evidence(view, block.evidence())? {
            Ok(proven) => proven,
            Err(why) => return Ok(Err(why)),
        };
        let input = Input {
            chain_id: self.genesis.chain_id(),
            height: header.height,
            time: header.time,
            mode: Mode::Apply,
            transactions: block.transactions(),
            misbehaviour: &misbehaviour,
        };
        let executed = match self.run(view, &input)? {
            Ok(executed) => executed,
            Err(why) => return Ok(Err(why)),
        };
        let results = [
            ("app_hash", executed.outcome.app_hash, header.app_hash),
            ("receipts_root", receipts_root(&executed.outcome.receipts), header.receipts_root),
            ("next_validators_hash", executed.next_validators.hash(), header.next_validators_hash),
        ];
        for (what, computed, said) in results {
            if computed != said {
                return Ok(Err(format!("{what} is {said}, this node computes {computed}")));
            }
        }
        Ok(Ok(Candidate { block: block.clone(), ids, executed, misbehaviour }))
    }

    /// Has the application execute, on the state of `view`.
    fn run(&self, view: &View, input: &Input<'_>) -> Result<Result<Executed, String>, StorageError> {
        match execute::execute(self.application.as_ref(), view.snapshot.as_ref(), &view.validators, input) {
            Ok(executed) => Ok(Ok(executed)),
            Err(Failure::Invalid(why)) => Ok(Err(why)),
            Err(Failure::Storage(error)) => Err(error),
        }
    }

    fn check_place(&self, view: &View, header: &Header) -> Result<(), String> {
        let expected = view.tip.height.next();
        if header.chain_id != self.genesis.chain_id() {
            return Err(format!("block is of chain {}", header.chain_id));
        }
        if header.height != expected {
            return Err(format!("block has height {}, the next is {expected}", header.height));
        }
        if header.parent_hash != view.tip.hash {
            return Err(format!("block's parent is {}, the tip is {}", header.parent_hash, view.tip.hash));
        }
        if header.time <= view.tip.time {
            return Err(format!("block's time {} is not after its parent's {}", header.time, view.tip.time));
        }
        if header.validators_hash != view.validators.hash() {
            return Err("block names other validators than its height has".into());
        }
        if view.validators.get(header.creator).is_none() {
            return Err(format!("block's creator {} is not a validator", header.creator));
        }
        Ok(())
    }

    fn check_transactions(
        &self,
        view: &View,
        (ids, good): (&[TransactionId], &[bool]),
        transactions: &[Bytes],
        knowing: Knowing<'_>,
    ) -> Result<Option<String>, StorageError> {
        let chain = view.chain();
        let mut seen = IdSet::with_capacity_and_hasher(ids.len(), Keyed::default());
        let mut unknown = Vec::new();
        let good = good.iter().copied().chain(std::iter::repeat(false));
        let known = knowing(view.tip.height, ids, transactions).into_iter().chain(std::iter::repeat(Known::default()));
        for (((id, transaction), good), known) in ids.iter().zip(transactions).zip(good).zip(known) {
            if !seen.insert(id) {
                return Ok(Some(format!("transaction {id} occurs twice")));
            }
            if !known.new && chain.transaction(id)?.is_some() {
                return Ok(Some(format!("transaction {id} is final already")));
            }
            if !good && !known.good {
                unknown.push(transaction.clone());
            }
        }
        let state = StateView(view.snapshot.as_ref());
        match verify_parallel(self.application.as_ref(), &state, &unknown).into_iter().find_map(Result::err) {
            // Says nothing of the transaction: the application itself failed.
            Some(Rejection::State(why)) => Err(StorageError::Plugin(why)),
            wrong => Ok(wrong.map(|rejection| rejection.to_string())),
        }
    }

    fn check_evidence(
        &self,
        view: &View,
        evidence: &[Bytes],
    ) -> Result<Result<Vec<Misbehaviour>, String>, StorageError> {
        let mut proven: Vec<Misbehaviour> = Vec::new();
        for bytes in evidence {
            match self.evidence(view, bytes)? {
                Ok(one) if proven.iter().any(|p| p.offender == one.offender && p.height == one.height) => {
                    return Ok(Err("the same misbehaviour is proven twice".into()));
                }
                Ok(one) => proven.push(one),
                Err(why) => return Ok(Err(why.to_string())),
            }
        }
        Ok(Ok(proven))
    }

    /// Judges a proposed block: limits, time, then everything else by executing it.
    pub(crate) fn judge(
        &self,
        view: &View,
        block: &Block,
        limits: &BlockLimits,
        now: Timestamp,
        knowing: Knowing<'_>,
    ) -> Result<Result<Candidate, Verdict>, StorageError> {
        let invalid = |why: String| Ok(Err(Verdict::Invalid(why)));
        let header = block.header();
        if block.transactions().len() > limits.transactions_max as usize {
            return invalid(format!(
                "{} transactions; the limit is {}",
                block.transactions().len(),
                limits.transactions_max
            ));
        }
        if block.encoded().len() > limits.bytes_max as usize {
            return invalid(format!("{} bytes; the limit is {}", block.encoded().len(), limits.bytes_max));
        }
        if header.time.0 > now.0.saturating_add(limits.drift_ms) {
            let ahead = header.time.0 - now.0;
            return Ok(Err(Verdict::NotNow(format!("its time is {ahead} ms ahead of this node's clock"))));
        }
        Ok(self.execute(view, block, Foreknown::default(), knowing)?.map_err(Verdict::Invalid))
    }

    /// Checks a block that comes with a proof of finality, and executes it.
    pub(crate) fn judge_final(
        &self,
        view: &View,
        block: &Block,
        proof: &[u8],
        known: Foreknown,
        knowing: Knowing<'_>,
    ) -> Result<Candidate, BadBlock> {
        if proof.len() > PROOF_BYTES_MAX {
            return Err(BadBlock::NotFinal(format!("proof has {} bytes; the limit is {PROOF_BYTES_MAX}", proof.len())));
        }
        self.check_place(view, block.header()).map_err(BadBlock::NotFinal)?;
        // The header names the validators of its height, as was just checked.
        if known.proven_by != Some(block.header().validators_hash) {
            judged(self.finality.verify(&self.genesis.chain_id(), block.header(), proof, &view.validators))?
                .map_err(|error| BadBlock::NotFinal(error.to_string()))?;
        }
        self.execute(view, block, known, knowing)?.map_err(|what| BadBlock::Conflict {
            height: block.height(),
            hash: block.hash(),
            what,
        })
    }

    /// Makes a block on the tip; also says which candidates it left out.
    pub(crate) fn build(
        &self,
        view: &View,
        proposal: Proposal<'_>,
    ) -> Result<Result<(Candidate, Vec<TransactionId>), String>, StorageError> {
        let mut evidence = Vec::new();
        let mut misbehaviour: Vec<Misbehaviour> = Vec::new();
        for bytes in proposal.evidence.iter().take(BLOCK_EVIDENCE_MAX) {
            if let Ok(one) = self.evidence(view, bytes)?
                && !misbehaviour.iter().any(|p| p.offender == one.offender && p.height == one.height)
            {
                misbehaviour.push(one);
                evidence.push(bytes.clone());
            }
        }
        let time = Timestamp(proposal.now.0.max(view.tip.time.0 + 1));
        let height = view.tip.height.next();
        let input = Input {
            chain_id: self.genesis.chain_id(),
            height,
            time,
            mode: Mode::Build,
            transactions: &proposal.transactions,
            misbehaviour: &misbehaviour,
        };
        let executed = match self.run(view, &input)? {
            Ok(executed) => executed,
            Err(why) => return Ok(Err(why)),
        };
        let mut left_out = executed.outcome.left_out.iter().map(|(at, _)| *at).peekable();
        let mut kept = Vec::with_capacity(proposal.transactions.len());
        let mut ids = Vec::with_capacity(proposal.transactions.len());
        let mut out = Vec::new();
        for (at, transaction) in proposal.transactions.into_iter().enumerate() {
            let id = self.application.transaction_id(&transaction);
            if left_out.next_if_eq(&at).is_some() {
                out.push(id);
            } else {
                kept.push(transaction);
                ids.push(id);
            }
        }
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: self.genesis.chain_id(),
            height,
            parent_hash: view.tip.hash,
            time,
            creator: proposal.creator,
            created_round: proposal.round,
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: executed.outcome.app_hash,
            receipts_root: receipts_root(&executed.outcome.receipts),
            validators_hash: view.validators.hash(),
            next_validators_hash: executed.next_validators.hash(),
        };
        Ok(Block::new(header, &kept, &evidence)
            .map(|block| (Candidate { block, ids, executed, misbehaviour }, out))
            .map_err(|error| error.to_string()))
    }

    /// Everything that a block changes, as one batch; what it writes to the state is taken out of it.
    pub(crate) fn batch(&self, view: &View, candidate: &mut Candidate, proof: &Bytes) -> Batch {
        let Candidate { block, ids, executed, misbehaviour } = candidate;
        let (height, hash) = (block.height(), block.hash());
        let mut batch = Batch::new();
        batch.put(layout::block(height), StoredBlock::encode(block, proof, &executed.outcome.receipts));
        batch.put(layout::hash(&hash), layout::with_height(height, &[]));
        let mut rows = Packed::default();
        for (id, index) in ids.iter().zip(0u32..) {
            let (key, place) = layout::transaction(&mut rows, id, height, index);
            batch.put(key, place);
        }
        std::mem::take(&mut executed.writes).put_into(&mut batch);
        if executed.next_validators != view.validators {
            batch.put(layout::validators(height.next()), layout::to_borsh(&executed.next_validators));
        }
        for (proven, bytes) in misbehaviour.iter().zip(block.evidence()) {
            let offence = layout::offence(&proven.offender, proven.height);
            let record = record(view, proven, bytes, Some(height));
            batch.put(layout::evidence(&offence), layout::to_borsh(&record));
            batch.delete(layout::pending_evidence(&offence));
        }
        batch.put(layout::TIP, layout::to_borsh(&Tip { height, hash, time: block.header().time }));
        batch.delete(layout::SAVED);
        if let Some(keep_blocks) = self.keep_blocks {
            prune::remove_old(&mut batch, view.blocks_from, height, keep_blocks);
        }
        batch
    }

    /// Takes a final block with its proof, durably: for catch-up and for imports.
    ///
    /// # Errors
    ///
    /// [`BadBlock`].
    pub fn append(&self, view: &View, block: &Block, proof: &Bytes) -> Result<View, BadBlock> {
        let mut candidate = self.judge_final(view, block, proof, Foreknown::default(), &|_, _, _| Vec::new())?;
        self.storage.commit(self.batch(view, &mut candidate, proof))?;
        Ok(self.view()?)
    }
}

/// The record of a proven offence.
pub(crate) fn record(view: &View, proven: &Misbehaviour, proof: &[u8], included_at: Option<Height>) -> EvidenceRecord {
    let name = view
        .validators
        .index_of(&proven.offender)
        .and_then(|index| view.validators.get(index))
        .map_or_else(String::new, |validator| validator.name.clone());
    EvidenceRecord { misbehaviour: proven.clone(), name, included_at, proof: proof.to_vec() }
}

fn receipts_root(receipts: &[Bytes]) -> Hash {
    let leaves: Vec<Hash> = receipts.iter().map(|receipt| merkle::leaf(receipt)).collect();
    merkle::root(&leaves)
}

/// Transactions below which threads cost more than they bring: a thread costs some 30 us, a signature 40 us, a ballot ten times that.
const PARALLEL_MIN: usize = 16;

/// The cores that this process may use, asked for once: the answer is read from files of the system each time.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// [`Application::verify`] on all cores, of which this thread's is one.
pub(crate) fn verify_parallel(
    application: &dyn Application,
    state: &StateView<'_>,
    transactions: &[Bytes],
) -> Vec<Result<(), Rejection>> {
    let cores = cores();
    if transactions.len() < PARALLEL_MIN || cores == 1 {
        return verify_part(application, state, transactions);
    }
    let share = transactions.len().div_ceil(cores);
    let (own, others) = transactions.split_at(share);
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            others.chunks(share).map(|part| scope.spawn(move || verify_part(application, state, part))).collect();
        let mut verdicts = Vec::with_capacity(transactions.len());
        verdicts.extend(contained(own, || verify_part(application, state, own)));
        for (worker, part) in workers.into_iter().zip(others.chunks(share)) {
            verdicts.extend(worker.join().unwrap_or_else(|_| panicked(part)));
        }
        verdicts
    })
}

/// The verdicts of `verify`, also if it panics.
fn contained(part: &[Bytes], verify: impl FnOnce() -> Vec<Result<(), Rejection>>) -> Vec<Result<(), Rejection>> {
    catch_unwind(AssertUnwindSafe(verify)).unwrap_or_else(|_| panicked(part))
}

/// A panic is the application's fault; what it did not judge is not accepted.
fn panicked(part: &[Bytes]) -> Vec<Result<(), Rejection>> {
    vec![Err(Rejection::State("the application panicked".into())); part.len()]
}

/// As [`Application::verify`], with as many answers as transactions: else whoever pairs them takes a transaction that nobody judged for a good one.
fn verify_part(
    application: &dyn Application,
    state: &StateView<'_>,
    transactions: &[Bytes],
) -> Vec<Result<(), Rejection>> {
    let verdicts = application.verify(state, transactions);
    let (found, expected) = (verdicts.len(), transactions.len());
    if found == expected {
        return verdicts;
    }
    let why = format!("the application gave {found} verdicts for {expected} transactions");
    vec![Err(Rejection::State(why)); expected]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Empty, Judge};

    /// `count` verdicts of as many transactions, of which one is `odd`.
    fn verdicts(count: usize, odd_at: usize, odd: &'static [u8]) -> Vec<Result<(), Rejection>> {
        let mut transactions = vec![Bytes::from_static(b"yes"); count];
        transactions[odd_at] = Bytes::from_static(odd);
        verify_parallel(&Judge, &StateView(&Empty), &transactions)
    }

    #[test]
    fn every_transaction_has_the_verdict_of_its_place_on_however_many_threads() {
        for count in [1, PARALLEL_MIN - 1, PARALLEL_MIN, PARALLEL_MIN + 1, 100] {
            for odd_at in [0, count / 2, count - 1] {
                let found = verdicts(count, odd_at, b"no");
                let wrong: Vec<usize> = (0..count).filter(|at| found[*at].is_err()).collect();
                assert_eq!((found.len(), wrong), (count, vec![odd_at]));
            }
        }
    }

    /// Nothing of the share in which it happened was judged; and it says nothing against who sent it.
    #[test]
    fn a_panic_is_the_applications_fault_on_whichever_thread_it_comes() {
        for odd_at in [0, 99] {
            let found = verdicts(100, odd_at, b"panic");
            assert_eq!(found.len(), 100);
            assert!(matches!(&found[odd_at], Err(Rejection::State(_))), "{:?}", found[odd_at]);
        }
    }
}
