//! A loaded consensus and its checker of proofs.

use std::time::Duration;

use quorate::{
    Bytes, ChainId, Consensus, Hash, Header, Height, Instant, PeerId, Round, Timestamp, ValidatorIndex,
    consensus::{Action, Event, ProofError, Start, Tip},
    plugin::{Promise, SignatureKinds},
};
use quorate_abi::host::DESCRIBED_BYTES_MAX;

use crate::support::{self, consensus, context, faulty};

pub(crate) fn engine(fault: &str) -> Box<dyn Consensus> {
    let plugin = consensus(&faulty(), "faulty");
    let made = plugin.build(&context(3, "", &format!("fault = \"{fault}\"")));
    made.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn step(engine: &mut dyn Consensus, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    engine.step(Instant(1), event, &mut out);
    out
}

fn start() -> Event {
    let tip = Tip { height: Height(6), hash: Hash::ZERO, time: Timestamp(0) };
    let validators = context(3, "", "").validators;
    Event::Start(Start { tip, validators, me: Some(ValidatorIndex(1)), saved: None, fresh: true, pending: false })
}

pub(crate) fn timer() -> Event {
    Event::Timer { id: 1, due: Instant(1) }
}

#[test]
fn events_go_in_and_actions_come_out() {
    let mut engine = engine("none");
    assert!(step(engine.as_mut(), start()).is_empty());
    let from = PeerId::new([8; 32]);
    let bytes = Bytes::from(vec![7; 200_000]);
    let out = step(engine.as_mut(), Event::Message { from, validator: None, bytes: bytes.clone() });
    assert!(matches!(&out[..], [Action::Send { to, bytes: back }] if *to == from && *back == bytes), "{out:?}");
    let status = engine.status(Instant(2));
    assert_eq!((status.height, status.round, status.phase.as_str()), (Height(7), Round(3), "propose"));
}

#[test]
fn a_panic_in_a_step_halts_the_consensus_with_a_sentence_and_nothing_else() {
    let mut engine = engine("panics in step");
    step(engine.as_mut(), start());
    let out = step(engine.as_mut(), timer());
    let [Action::Halt { reason }] = &out[..] else { panic!("what it said before is not carried out: {out:?}") };
    assert!(
        reason.starts_with("plugin `faulty` of `libquorate_faulty.so` panicked in step: planted in step ("),
        "{reason}"
    );
    assert!(reason.ends_with("; nothing above block 6 is signed any more"), "{reason}");
    assert!(step(engine.as_mut(), timer()).is_empty(), "it is not called again");
    let status = engine.status(Instant(3));
    assert!(status.halted.unwrap().contains("panicked in step"));
}

#[test]
fn a_panic_in_the_status_halts_at_the_next_step() {
    let mut engine = engine("panics in status");
    step(engine.as_mut(), start());
    assert!(engine.status(Instant(1)).halted.unwrap().contains("panicked in status"));
    let out = step(engine.as_mut(), Event::Work { pending: true });
    assert!(matches!(&out[..], [Action::Halt { .. }]), "{out:?}");
}

#[test]
fn too_many_or_too_large_actions_are_rubbish() {
    for (fault, why) in [
        ("says too much", "returned rubbish from step: more than 4096 answers"),
        ("says something too large", "returned rubbish from step: an answer of 1 and 34603008 bytes"),
    ] {
        let mut engine = engine(fault);
        let out = step(engine.as_mut(), start());
        let [Action::Halt { reason }] = &out[..] else { panic!("{out:?}") };
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_panic_while_it_is_dropped_harms_nobody() {
    drop(engine("panics in drop"));
    drop(engine("none"));
}

fn header() -> Header {
    Header {
        version: 1,
        chain_id: ChainId::new([9; 32]),
        height: Height(1),
        parent_hash: Hash::ZERO,
        time: Timestamp(1),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: Hash::ZERO,
        validators_hash: Hash::ZERO,
        next_validators_hash: Hash::ZERO,
    }
}

#[test]
fn proofs_are_judged_by_the_library_and_a_failed_judge_judges_nothing() {
    let plugin = consensus(&faulty(), "faulty");
    let context = context(3, "", "");
    let proof = plugin.proof(&context).unwrap_or_else(|error| panic!("{error}"));
    let (header, set) = (header(), &context.validators);
    assert_eq!(proof.verify(&context.chain_id, &header, header.hash().as_bytes(), set), Ok(()));
    assert_eq!(proof.verify(&context.chain_id, &header, b"", set), Err(ProofError::NoQuorum { found: 0, needed: 3 }));
    assert_eq!(proof.certificate(b""), Err(ProofError::Malformed("it is empty".into())));
    assert_eq!(proof.certificate(b"x"), Ok(Default::default()));
    assert_eq!(proof.evidence_height(b"four"), Ok(Height(4)));
    assert_eq!(proof.evidence(&context.chain_id, b"four", set).unwrap().offence, "was late");
    let broken = plugin.proof(&support::context(3, "", "fault = \"panics in verify\"")).unwrap();
    let Err(ProofError::Failed(why)) = broken.verify(&context.chain_id, &header, b"", set) else { panic!() };
    assert!(why.contains("panicked in proof_verify"), "{why}");
    assert!(matches!(broken.certificate(b"x"), Err(ProofError::Failed(_))), "it is not asked again");
}

#[test]
fn it_says_what_it_promises_in_numbers_or_says_nothing() {
    let plugin = consensus(&faulty(), "faulty");
    let promised = |fault: &str| plugin.promise(&context(3, "", &format!("fault = \"{fault}\"")));
    let delta = Some(Duration::from_micros(1500));
    let all = Promise { gone: 2, dishonest: 1, delta, kinds: Some(SignatureKinds::TWO_PHASE) };
    assert_eq!(promised("none"), Some(all));
    assert_eq!(promised("promises nothing"), None);
    // What panicked has promised nothing.
    assert_eq!(promised("panics in promise"), None);
    assert_eq!(promised("none"), Some(all), "it is asked again");
}

#[test]
fn its_messages_have_words_and_a_panic_shows_among_them() {
    let plugin = consensus(&faulty(), "faulty");
    assert_eq!(plugin.describe_message(b"x").as_deref(), Some("1 bytes"));
    assert_eq!(plugin.describe_message(b""), None);
    assert_eq!(plugin.describe_message(&[0; 2000]).unwrap().len(), DESCRIBED_BYTES_MAX);
    let words = plugin.describe_message(b"panic").unwrap();
    assert!(
        words.starts_with("(plugin `faulty` of `libquorate_faulty.so` panicked in describe_message: planted"),
        "{words}"
    );
}
