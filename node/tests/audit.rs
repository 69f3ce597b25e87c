//! The auditor against a hand-made chain: it accepts the good one, and no change of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can not go on fails")]

use std::{path::Path, sync::Arc};

use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{
    Application, Block, Bytes, ChainId, FinalityProof, Genesis, Hash, Header, Height, Round, Signature, Timestamp,
    ValidatorIndex, ValidatorSet,
    application::{
        Admission, BlockContext, ExecuteError, Misbehaviour, Outcome, QueryError, Rejection, StateRead, StateWrite,
    },
    borsh,
    consensus::{Certificate, ProofError, sign_bytes},
    merkle,
    storage::StorageError,
};
use quorate_kernel::key::NodeKey;
use quorate_node::{
    archive::{Reader, Writer},
    audit::{Auditor, MemoryState, Report, Violation},
    commands::init::development_plan,
    network::{self, NetworkOptions},
};

/// Appends transactions to a log; `bad` is not allowed.
struct Log;

impl Log {
    fn hash(state: &dyn StateRead) -> Result<Hash, StorageError> {
        Ok(Hash::of(&[&state.get(b"log")?.unwrap_or_default()]))
    }
}

impl Application for Log {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        state.put(b"log", b"");
        Self::hash(state)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let forged = |tx: &Bytes| tx.starts_with(b"forged");
        let verdict = |tx| if forged(tx) { Err(Rejection::NotAuthentic("forged".into())) } else { Ok(()) };
        transactions.iter().map(verdict).collect()
    }

    fn check(&self, _: &dyn StateRead, _: Timestamp, _: &[u8]) -> Result<Admission, Rejection> {
        Ok(Admission::default())
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut log = state.get(b"log")?.unwrap_or_default().to_vec();
        let mut receipts = Vec::new();
        for (index, transaction) in block.transactions.iter().enumerate() {
            if transaction.starts_with(b"bad") {
                return Err(ExecuteError::Invalid { index, rejection: Rejection::NotAllowed("bad".into()) });
            }
            log.extend_from_slice(transaction);
            receipts.push(Bytes::from(format!("at {}", log.len())));
        }
        for offence in block.misbehaviour {
            log.extend_from_slice(offence.offender.as_bytes());
        }
        state.put(b"log", &log);
        let kept = block.transactions.first().and_then(|tx| tx.strip_prefix(b"keep ")).map(|digit| match digit {
            b"1" => 1,
            _ => 2,
        });
        let validators =
            kept.map(|kept| genesis().validators().iter().take(kept).map(|(_, one)| one.clone()).collect());
        Ok(Outcome { app_hash: Self::hash(state)?, receipts, validators, ..Outcome::default() })
    }

    fn query(&self, _: &dyn StateRead, path: &str, _: &[u8]) -> Result<Vec<u8>, QueryError> {
        Err(QueryError::UnknownPath { path: path.into(), known: String::new() })
    }
}

/// Decodes a certificate and believes it: what the auditor checks by itself must suffice.
struct Credulous;

impl FinalityProof for Credulous {
    fn verify(&self, _: &ChainId, _: &Header, _: &[u8], _: &ValidatorSet) -> Result<(), ProofError> {
        Ok(())
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        borsh::from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
    }

    /// Evidence here is a height and a validator's place, a byte each.
    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        match evidence {
            [height, _] => Ok(Height((*height).into())),
            _ => Err(ProofError::Malformed("two bytes".into())),
        }
    }

    fn evidence(&self, _: &ChainId, evidence: &[u8], set: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        let (height, place) = (self.evidence_height(evidence)?, ValidatorIndex(u16::from(evidence[1])));
        let offender = set.get(place).ok_or_else(|| ProofError::NoMisbehaviour("no such validator".into()))?;
        Ok(Misbehaviour { height, offender: offender.public_key, offence: "two faces".into() })
    }
}

fn genesis() -> Genesis {
    let plan =
        development_plan(&NetworkOptions { application: Some("kv".into()), ..NetworkOptions::default() }).unwrap();
    Genesis::parse("genesis.toml", &network::genesis(&plan)).unwrap()
}

fn key(index: u16) -> SigningKey {
    SigningKey::from_bytes(&NodeKey::development(&format!("validator-{}", index + 1)).seed())
}

fn proof_by(signers: &[u16], header: &Header, round: u32) -> Bytes {
    let bytes = sign_bytes(&header.chain_id, 3, header.height, Round(round), header.hash().as_bytes());
    let signatures = signers.iter().map(|at| (ValidatorIndex(*at), Signature::new(key(*at).sign(&bytes).to_bytes())));
    borsh::to_vec(&Certificate { round: Round(round), signatures: signatures.collect() }).unwrap().into()
}

/// Blocks on each other, with the transactions given, then changed by `edit`.
fn chain(transactions: &[&[&str]], edit: impl Fn(&mut Header)) -> Vec<Block> {
    chain_with(transactions, &[], edit)
}

/// As [`chain`]; the last block carries `evidence`.
fn chain_with(transactions: &[&[&str]], evidence: &[[u8; 2]], edit: impl Fn(&mut Header)) -> Vec<Block> {
    let genesis = genesis();
    let mut validators = genesis.validators().clone();
    let mut state = MemoryState::default();
    Log.genesis(&mut state).unwrap();
    let mut parent = Hash::new(*genesis.chain_id().as_bytes());
    let mut blocks = Vec::new();
    let transactions_len = transactions.len() as u64;
    for (texts, height) in transactions.iter().zip(1u64..) {
        let transactions: Vec<Bytes> = texts.iter().map(|text| Bytes::from((*text).to_owned())).collect();
        let evidence = if height == transactions_len { evidence } else { &[] };
        let misbehaviour: Vec<Misbehaviour> = evidence
            .iter()
            .filter_map(|one| Credulous.evidence(&genesis.chain_id(), one, genesis.validators()).ok())
            .collect();
        let context = BlockContext {
            chain_id: genesis.chain_id(),
            height: Height(height),
            time: Timestamp(genesis.time().0 + height),
            mode: quorate::application::Mode::Apply,
            transactions: (&transactions).into(),
            misbehaviour: &misbehaviour,
        };
        let outcome = Log.execute(&mut state, &context).unwrap_or_default();
        let leaves: Vec<Hash> = outcome.receipts.iter().map(|receipt| merkle::leaf(receipt)).collect();
        let next = outcome.validators.clone().map_or(validators.clone(), |list| ValidatorSet::new(list).unwrap());
        let mut header = Header {
            version: quorate::block::BLOCK_VERSION,
            chain_id: genesis.chain_id(),
            height: Height(height),
            parent_hash: parent,
            time: context.time,
            creator: validators.at_turn(height),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: outcome.app_hash,
            receipts_root: merkle::root(&leaves),
            validators_hash: validators.hash(),
            next_validators_hash: next.hash(),
        };
        edit(&mut header);
        let evidence: Vec<Bytes> = evidence.iter().map(|one| Bytes::copy_from_slice(one)).collect();
        let block = Block::new(header, &transactions, &evidence).unwrap();
        validators = next;
        parent = block.hash();
        blocks.push(block);
    }
    blocks
}

fn auditor() -> Auditor {
    Auditor::new(genesis(), Arc::new(Log), Arc::new(Credulous)).unwrap()
}

fn audit(blocks: &[Block], prove: impl Fn(&Block) -> Bytes) -> Result<Report, Violation> {
    let mut auditor = auditor();
    for block in blocks {
        auditor.block(block.encoded().clone(), &prove(block))?;
    }
    Ok(auditor.report().clone())
}

fn by_quorum(block: &Block) -> Bytes {
    proof_by(&[0, 2], block.header(), 0)
}

const GOOD: [&[&str]; 3] = [&["one", "two"], &[], &["three"]];

#[test]
fn a_good_chain_is_accepted_and_counted() {
    let blocks = chain(&GOOD, |_| {});
    let report = audit(&blocks, by_quorum).unwrap();
    assert_eq!((report.blocks, report.transactions, report.signatures), (3, 3, 6));
    assert_eq!(report.head, blocks[2].hash());
}

#[test]
fn every_broken_rule_is_told_with_its_height() {
    let broken = |height: u64, edit: &dyn Fn(&mut Header)| {
        chain(&GOOD, |header| {
            if header.height == Height(height) {
                edit(header)
            }
        })
    };
    let wrong = Hash::of(&[b"wrong"]);
    let cases: [(&str, u64, Vec<Block>); 10] = [
        ("chain_id", 1, broken(1, &|header| header.chain_id = ChainId::new([9; 32]))),
        ("height", 2, broken(2, &|header| header.height = Height(7))),
        ("parent_hash", 3, broken(3, &|header| header.parent_hash = wrong)),
        ("time", 2, broken(2, &|header| header.time = genesis().time())),
        ("turn", 2, broken(2, &|header| header.creator = ValidatorIndex(0))),
        ("creator", 2, broken(2, &|header| header.creator = ValidatorIndex(7))),
        ("app_hash", 3, broken(3, &|header| header.app_hash = wrong)),
        ("receipts_root", 1, broken(1, &|header| header.receipts_root = wrong)),
        ("validators_hash", 2, broken(2, &|header| header.validators_hash = wrong)),
        ("next_validators_hash", 3, broken(3, &|header| header.next_validators_hash = wrong)),
    ];
    for (what, height, blocks) in cases {
        let violation = audit(&blocks, by_quorum).unwrap_err();
        assert_eq!(violation.height, Height(height), "{what}: {violation}");
        assert!(violation.reason.contains(what), "{what}: {violation}");
    }
    let at_2 = |transactions: &[&str]| audit(&chain(&[&["one"], transactions], |_| {}), by_quorum).unwrap_err();
    assert!(at_2(&["one"]).reason.contains("twice"));
    assert!(at_2(&["forged"]).reason.contains("forged"));
    assert!(at_2(&["bad"]).reason.contains("bad"));
    let many: Vec<String> = (0..33).map(|n| format!("t{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(at_2(&many).reason.contains("genesis allows 32"));
}

#[test]
fn the_auditor_counts_signatures_itself() {
    let blocks = chain(&GOOD, |_| {});
    let refused = |prove: &dyn Fn(&Block) -> Bytes| audit(&blocks, prove).unwrap_err().reason;
    assert!(refused(&|block| proof_by(&[1], block.header(), 0)).contains("2 are needed"));
    assert!(refused(&|block| proof_by(&[1, 1], block.header(), 0)).contains("twice"));
    let other = |block: &Block| proof_by(&[0, 1], &Header { time: Timestamp(1), ..block.header().clone() }, 0);
    assert!(refused(&other).contains("wrong"));
    let stranger = |block: &Block| {
        let mut certificate: Certificate = borsh::from_slice(&by_quorum(block)).unwrap();
        certificate.signatures[0].0 = ValidatorIndex(3);
        borsh::to_vec(&certificate).unwrap().into()
    };
    assert!(refused(&stranger).contains("no validator"));
    assert!(audit(&blocks, |block| proof_by(&[0, 1, 2], block.header(), 4)).is_ok());
    let early = chain(&GOOD, |header| {
        header.created_round = Round(1);
        header.creator = ValidatorIndex(u16::try_from((header.height.0 + 1) % 3).unwrap());
    });
    assert!(audit(&early, by_quorum).unwrap_err().reason.contains("before round 1"));
    assert!(audit(&early, |block| proof_by(&[0, 1], block.header(), 1)).is_ok());
}

#[test]
fn validators_that_change_are_followed_and_too_many_at_once_are_told() {
    // Validator 3 leaves after block 1: the other two decide, and evidence of block 1 against it still counts in block 3.
    let by_both = |block: &Block| proof_by(&[0, 1], block.header(), 0);
    let leaving: [&[&str]; 3] = [&["keep 2"], &["one"], &[]];
    let report = audit(&chain_with(&leaving, &[[1, 2]], |_| {}), by_both).unwrap();
    assert_eq!((report.validator_changes, report.evidence), (1, 1));
    let by_one = |block: &Block| proof_by(&[1], block.header(), 0);
    let blocks = chain(&leaving, |_| {});
    let violation = audit(&blocks, |block| if block.height() == Height(2) { by_one(block) } else { by_both(block) });
    assert!(violation.unwrap_err().reason.contains("2 are needed"));
    let violation = audit(&chain(&[&["keep 1"]], |_| {}), by_both).unwrap_err();
    assert!(violation.reason.contains("exchanged"), "{violation}");
}

#[test]
fn evidence_counts_once_and_only_of_heights_that_were() {
    let told = |evidence: &[[u8; 2]]| audit(&chain_with(&GOOD, evidence, |_| {}), by_quorum).unwrap_err().reason;
    assert!(audit(&chain_with(&GOOD, &[[1, 0], [2, 0], [1, 1]], |_| {}), by_quorum).is_ok());
    assert!(told(&[[1, 0], [1, 0]]).contains("proven twice"));
    assert!(told(&[[4, 0]]).contains("height 4"));
    assert!(told(&[[0, 0]]).contains("height 0"));
    assert!(told(&[[1, 9]]).contains("no such validator"));
}

fn audit_export(bytes: &[u8]) -> Result<Report, String> {
    let mut reader = Reader::new(Path::new("chain.export"), bytes).map_err(|error| error.to_string())?;
    let genesis = Genesis::parse("genesis", reader.genesis()).map_err(|errors| format!("{errors:?}"))?;
    let auditor = Auditor::new(genesis, Arc::new(Log), Arc::new(Credulous));
    let mut auditor = auditor.map_err(|violation| violation.to_string())?;
    while let Some((block, proof)) = reader.next_block().map_err(|error| error.to_string())? {
        auditor.block(block, &proof).map_err(|violation| violation.to_string())?;
    }
    Ok(auditor.report().clone())
}

#[test]
fn an_export_verifies_and_no_flipped_bit_of_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.export");
    let mut writer = Writer::create(&path, genesis().text()).unwrap();
    for block in chain(&GOOD, |_| {}) {
        writer.block(block.encoded(), &by_quorum(&block)).unwrap();
    }
    writer.finish().unwrap();
    let good = std::fs::read(&path).unwrap();
    assert_eq!(audit_export(&good).unwrap().blocks, 3);
    // Every bit of the frame and a sample of the rest: a prime step meets every field.
    let bits = (0..400).chain((400..good.len() * 8).step_by(37)).chain(good.len() * 8 - 800..good.len() * 8);
    for bit in bits {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(audit_export(&bad).is_err(), "bit {bit}");
    }
}
