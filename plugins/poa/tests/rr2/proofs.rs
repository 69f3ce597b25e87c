//! Proofs of finality and evidence, as somebody checks them who does not run the engine.

use quorate::{ChainId, ValidatorIndex, borsh, consensus::ProofError, plugin::ConsensusPlugin};
use quorate_poa::{Evidence, PoaPlugin, QuorumCertificate, SignedHash, VoteKind};

use crate::{
    net::{CHAIN, context, settings},
    one::One,
};

fn prove(qc: &QuorumCertificate, model: &str, one: &One) -> Result<(), ProofError> {
    let proof = PoaPlugin.proof(&context(one.set.len(), &settings(model, ""))).unwrap();
    proof.verify(&CHAIN, one.block(0, 1).header(), &borsh::to_vec(qc).unwrap(), &one.set)
}

#[test]
fn a_quorum_convinces_and_nothing_less_or_other_does() {
    for (model, count, quorum) in [("crash", 3, 2), ("byzantine-sync", 5, 3), ("byzantine", 4, 3)] {
        let one = One::new(0, count, model);
        let hash = one.block(0, 1).hash();
        let signers: Vec<usize> = (0..count).collect();
        let of = |kind, by: &[usize]| one.qc(kind, 0, hash, by);
        assert_eq!(prove(&of(VoteKind::Commit, &signers[..quorum]), model, &one), Ok(()));
        assert_eq!(prove(&of(VoteKind::Commit, &signers), model, &one), Ok(()));
        let few = of(VoteKind::Commit, &signers[..quorum - 1]);
        assert_eq!(prove(&few, model, &one), Err(ProofError::NoQuorum { found: quorum - 1, needed: quorum }));
        let prepare = of(VoteKind::Prepare, &signers);
        assert!(matches!(prove(&prepare, model, &one), Err(ProofError::Mismatch { .. })));
        let mut twice = of(VoteKind::Commit, &signers[..quorum]);
        twice.signatures[1] = twice.signatures[0];
        assert!(matches!(prove(&twice, model, &one), Err(ProofError::Malformed(_))));
        let other = one.qc(VoteKind::Commit, 0, one.block(0, 2).hash(), &signers);
        assert!(matches!(prove(&other, model, &one), Err(ProofError::Mismatch { .. })));
        let mut stranger = of(VoteKind::Commit, &signers);
        stranger.signatures[count - 1].0 = ValidatorIndex(200);
        assert_eq!(prove(&stranger, model, &one), Err(ProofError::BadSignature(ValidatorIndex(200))));
    }
}

#[test]
fn no_flipped_bit_convinces() {
    let one = One::new(0, 3, "crash");
    let (block, proof) = (one.block(0, 1), PoaPlugin.proof(&context(3, &settings("crash", ""))).unwrap());
    let good = borsh::to_vec(&one.qc(VoteKind::Commit, 0, block.hash(), &[0, 2])).unwrap();
    let verify = |bytes: &[u8], chain| proof.verify(&chain, block.header(), bytes, &one.set);
    assert_eq!(verify(&good, CHAIN), Ok(()));
    assert!(verify(&good, ChainId::new([1; 32])).is_err(), "of another network");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bad, CHAIN).is_err(), "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(verify(&good[..len], CHAIN).is_err() && proof.certificate(&good[..len]).is_err());
    }
    assert_eq!(proof.certificate(&good).unwrap().signatures.len(), 2);
}

#[test]
fn evidence_that_proves_nothing_is_refused() {
    let one = One::new(0, 3, "crash");
    let proof = PoaPlugin.proof(&context(3, &settings("crash", ""))).unwrap();
    let check = |evidence: &Evidence| proof.evidence(&CHAIN, &borsh::to_vec(evidence).unwrap(), &one.set);
    let signed = |by, mark| {
        let qc = one.qc(VoteKind::Commit, 0, one.block(0, mark).hash(), &[by]);
        SignedHash { block_hash: qc.block_hash, signature: qc.signatures[0].1 }
    };
    let votes = |kind, who, a, b| Evidence::votes(kind, (one.height(), quorate::Round(0)), ValidatorIndex(who), a, b);
    assert!(check(&votes(VoteKind::Commit, 2, signed(2, 1), signed(2, 2))).is_ok());
    assert!(check(&votes(VoteKind::Commit, 2, signed(2, 1), signed(2, 1))).is_err(), "the same vote");
    assert!(check(&votes(VoteKind::Commit, 2, signed(2, 1), signed(1, 2))).is_err(), "of two validators");
    assert!(check(&votes(VoteKind::Prepare, 2, signed(2, 1), signed(2, 2))).is_err(), "of another kind");
    assert!(check(&votes(VoteKind::Commit, 9, signed(2, 1), signed(2, 2))).is_err(), "of nobody");
    let Evidence::Votes { kind, height, round, offender, first, second } =
        votes(VoteKind::Commit, 2, signed(2, 1), signed(2, 2))
    else {
        unreachable!()
    };
    let swapped = Evidence::Votes { kind, height, round, offender, first: second, second: first };
    assert!(check(&swapped).is_err(), "one order only, or it would be counted twice");
    assert!(proof.evidence(&CHAIN, b"junk", &one.set).is_err() && proof.evidence_height(b"").is_err());
}
