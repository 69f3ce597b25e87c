//! What a chain sealed by one node keeps, and what a follower does not do.

use ed25519_dalek::{Signer, SigningKey};
use quorate::{
    Block, Bytes, ChainId, Consensus, Hash, Header, Height, Instant, PeerId, PublicKey, Round, Settings, Signature,
    Timestamp, Validator, ValidatorIndex, ValidatorSet,
    block::BLOCK_VERSION,
    consensus::{Action, CommitBy, Context, Event, Guard, ProofError, SignRefused, SignRequest, Start, Tip, Verdict},
    plugin::ConsensusPlugin,
};
use quorate_solo::{FollowerPlugin, SoloPlugin};

const CHAIN: ChainId = ChainId::new([9; 32]);
const SETTINGS: &str = "block_interval_ms = 1000\nblock_transactions_max = 4\nblock_bytes_max = 65536\n";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn set(count: u8) -> ValidatorSet {
    let one = |at: u8| Validator {
        name: format!("v{at}"),
        public_key: PublicKey::new(SigningKey::from_bytes(&[5 + at; 32]).verifying_key().to_bytes()),
    };
    ValidatorSet::new((0..count).map(one).collect()).expect("a set")
}

fn context(more: &str) -> Context {
    Context {
        chain_id: CHAIN,
        validators: set(1),
        shared: Settings::from_text(&format!("{SETTINGS}{more}")),
        settings: Settings::from_text(""),
        seed: 0,
    }
}

fn tip() -> Tip {
    Tip { height: Height(6), hash: Hash::new([2; 32]), time: Timestamp(1000) }
}

fn start(pending: bool, saved: Option<Bytes>) -> Event {
    Event::Start(Start { tip: tip(), validators: set(1), me: Some(ValidatorIndex(0)), saved, fresh: true, pending })
}

fn block(mark: u8) -> Block {
    let header = Header {
        version: BLOCK_VERSION,
        chain_id: CHAIN,
        height: Height(7),
        parent_hash: tip().hash,
        time: Timestamp(2000),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::new([mark; 32]),
        receipts_root: Hash::ZERO,
        validators_hash: set(1).hash(),
        next_validators_hash: set(1).hash(),
    };
    Block::new(header, &[], &[]).expect("a block")
}

fn signed(request: &SignRequest) -> Event {
    let signature = Signature::new(key().sign(&request.sign_bytes(&CHAIN)).to_bytes());
    Event::Signed { guard: request.guard, digest: request.digest(&CHAIN), result: Ok(signature) }
}

fn step(engine: &mut dyn Consensus, at_ms: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    engine.step(Instant(at_ms * 1000), event, &mut out);
    out
}

fn request(actions: &[Action]) -> SignRequest {
    let found = actions.iter().find_map(|action| if let Action::Sign(request) = action { Some(request) } else { None });
    found.expect("a signature is asked for").clone()
}

fn token(actions: &[Action]) -> Option<u64> {
    actions.iter().find_map(|action| if let Action::BuildBlock { token, .. } = action { Some(*token) } else { None })
}

fn committed() -> Event {
    let tip = Tip { height: Height(7), hash: block(1).hash(), time: Timestamp(2000) };
    let me = Some(ValidatorIndex(0));
    Event::Committed { tip, validators: set(1), me, by: CommitBy::Engine, pending: false }
}

#[test]
fn work_is_built_persisted_signed_and_committed_with_a_proof_that_convinces() {
    let context = context("empty_blocks = \"never\"\n");
    let mut engine = SoloPlugin.build(&context).expect("built");
    assert!(step(&mut *engine, 1, start(false, None)).is_empty(), "nothing to do");
    let token = token(&step(&mut *engine, 2, Event::Work { pending: true })).expect("a block is made");
    let out = step(&mut *engine, 3, Event::BlockBuilt { token, block: Some(block(1)) });
    assert!(matches!(out[..], [Action::Persist(_), Action::Sign(_), ..]), "durable before it is signed: {out:?}");
    let out = step(&mut *engine, 4, signed(&request(&out)));
    let [Action::Commit { hash, proof }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*hash, block(1).hash());
    let proofs = SoloPlugin.proof(&context).expect("a proof");
    assert_eq!(proofs.verify(&CHAIN, block(1).header(), proof, &set(1)), Ok(()));
    assert!(matches!(proofs.verify(&CHAIN, block(2).header(), proof, &set(1)), Err(ProofError::Mismatch { .. })));
    let other = ChainId::new([8; 32]);
    assert_eq!(
        proofs.verify(&other, block(1).header(), proof, &set(1)),
        Err(ProofError::BadSignature(ValidatorIndex(0)))
    );
    for bit in 0..proof.len() * 8 {
        let mut bad = proof.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(proofs.verify(&CHAIN, block(1).header(), &bad, &set(1)).is_err(), "bit {bit}");
    }
}

#[test]
fn blocks_keep_their_interval_and_empty_ones_their_heartbeat() {
    let mut engine = SoloPlugin.build(&context("empty_blocks = \"heartbeat\"\nheartbeat_ms = 5000\n")).expect("built");
    let out = step(&mut *engine, 1, start(false, None));
    assert!(matches!(out[..], [Action::SetTimer { at: Instant(5_001_000), .. }]), "{out:?}");
    step(&mut *engine, 10, committed());
    let out = step(&mut *engine, 20, Event::Work { pending: true });
    let [Action::SetTimer { id, at: Instant(1_010_000) }] = out[..] else { panic!("{out:?}") };
    let out = step(&mut *engine, 1010, Event::Timer { id, due: Instant(1_010_000) });
    assert!(token(&out).is_some(), "{out:?}");
}

/// Were another block made after a crash, the guard would refuse it and the chain would stand still for ever.
#[test]
fn after_a_crash_the_same_block_is_signed_again() {
    let context = context("empty_blocks = \"always\"\n");
    let mut engine = SoloPlugin.build(&context).expect("built");
    let token = token(&step(&mut *engine, 1, start(false, None))).expect("a block is made");
    let out = step(&mut *engine, 2, Event::BlockBuilt { token, block: Some(block(1)) });
    let first = request(&out);
    let [Action::Persist(saved), ..] = &out[..] else { panic!("{out:?}") };
    let mut again = SoloPlugin.build(&context).expect("built");
    let out = step(&mut *again, 1, start(false, Some(saved.clone())));
    assert!(matches!(&out[..], [Action::CheckBlock { block: known, .. }] if *known == block(1)), "{out:?}");
    let hash = block(1).hash();
    let out = step(&mut *again, 2, Event::BlockChecked { hash, verdict: Verdict::NotNow("clock".into()) });
    assert!(out.is_empty(), "{out:?}");
    let out = step(&mut *again, 3, Event::BlockChecked { hash, verdict: Verdict::Valid });
    assert_eq!(request(&out), first);
}

#[test]
fn a_refused_signature_stops_sealing_and_says_why() {
    let mut engine = SoloPlugin.build(&context("empty_blocks = \"always\"\n")).expect("built");
    let token = token(&step(&mut *engine, 1, start(false, None))).expect("a block is made");
    let asked = request(&step(&mut *engine, 2, Event::BlockBuilt { token, block: Some(block(1)) }));
    let last = Guard { height: Height(9), ..Guard::default() };
    let result = Err(SignRefused::Guard { last });
    let out = step(&mut *engine, 3, Event::Signed { guard: asked.guard, digest: asked.digest(&CHAIN), result });
    assert!(matches!(&out[..], [Action::Halt { reason }] if reason.contains("height 9")), "{out:?}");
    assert!(engine.status(Instant(4)).halted.is_some());
    assert!(step(&mut *engine, 5000, Event::Work { pending: true }).is_empty());
}

#[test]
fn a_signer_that_failed_is_asked_for_the_same_again() {
    let mut engine = SoloPlugin.build(&context("empty_blocks = \"always\"\n")).expect("built");
    let token = token(&step(&mut *engine, 1, start(true, None))).expect("a block is made");
    let asked = request(&step(&mut *engine, 2, Event::BlockBuilt { token, block: Some(block(1)) }));
    let result = Err(SignRefused::Failed("no space left".into()));
    let out = step(&mut *engine, 3, Event::Signed { guard: asked.guard, digest: asked.digest(&CHAIN), result });
    let [Action::SetTimer { id, at }] = out[..] else { panic!("{out:?}") };
    assert!(engine.status(Instant(4)).stalled.is_some_and(|why| why.contains("no space left")));
    let out = step(&mut *engine, 1003, Event::Timer { id, due: at });
    assert_eq!(request(&out), asked);
    assert!(
        matches!(&step(&mut *engine, 1004, signed(&asked))[..], [Action::Commit { hash, .. }] if *hash == block(1).hash())
    );
}

#[test]
fn a_block_that_could_not_be_built_is_tried_again() {
    let mut engine = SoloPlugin.build(&context("empty_blocks = \"always\"\n")).expect("built");
    let first = token(&step(&mut *engine, 1, start(true, None))).expect("a block is made");
    let out = step(&mut *engine, 2, Event::BlockBuilt { token: first, block: None });
    let [Action::SetTimer { id, at }] = out[..] else { panic!("{out:?}") };
    let out = step(&mut *engine, 102, Event::Timer { id, due: at });
    assert!(token(&out).is_some_and(|second| second != first), "{out:?}");
}

#[test]
fn solo_is_for_one_validator() {
    let mut context = context("empty_blocks = \"always\"\n");
    context.validators = set(3);
    let error = SoloPlugin.check(&context).expect_err("three validators");
    assert!(error.to_string().contains("genesis has 3"), "{error}");
}

#[test]
fn the_example_parses() {
    let mut context = context("");
    context.shared = Settings::from_text(SoloPlugin.descriptor().example);
    assert!(SoloPlugin.check(&context).expect("fine").warnings.is_empty());
}

#[test]
fn a_follower_does_nothing_but_count() {
    let mut context = context("keys = \"of another consensus\"\n");
    let mut engine = FollowerPlugin.build(&context).expect("built");
    let message = Event::Message { from: PeerId::new([1; 32]), validator: None, bytes: Bytes::from_static(b"x") };
    for event in [start(true, None), message, Event::Work { pending: true }, committed(), Event::Stop] {
        assert!(step(&mut *engine, 1, event).is_empty());
    }
    let status = engine.status(Instant(2));
    assert_eq!((status.height, status.phase.as_str()), (Height(8), "follow"));
    assert!(FollowerPlugin.observes() && FollowerPlugin.proof(&context).is_err());
    context.settings = Settings::from_text("delta_ms = 1\n");
    assert!(FollowerPlugin.check(&context).is_err(), "no settings of its own");
}
