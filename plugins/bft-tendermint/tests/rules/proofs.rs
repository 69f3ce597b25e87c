//! Proofs of finality and evidence, as somebody checks them who does not run the engine.

use quorate::{ChainId, ValidatorIndex, borsh, consensus::ProofError};
use quorate_bft_tendermint::{
    Evidence, QuorumCertificate, SignedProposal, SignedVote,
    VoteKind::{self, Precommit, Prevote},
    proposal_request,
};

use crate::one::{CHAIN, One, proof, sign};

fn prove(qc: &QuorumCertificate, one: &One) -> Result<(), ProofError> {
    proof().verify(&CHAIN, one.block(0, 1).header(), &borsh::to_vec(qc).unwrap(), &one.set)
}

#[test]
fn more_than_two_thirds_convince_and_nothing_less_or_other_does() {
    for (count, quorum) in [(1, 1), (3, 3), (4, 3), (7, 5)] {
        let one = One::new(0, count);
        let hash = one.block(0, 1).hash();
        let signers: Vec<usize> = (0..count).collect();
        let of = |kind, by: &[usize]| one.qc(kind, 0, hash, by);
        assert_eq!(prove(&of(Precommit, &signers[..quorum]), &one), Ok(()));
        assert_eq!(prove(&of(Precommit, &signers), &one), Ok(()));
        let few = of(Precommit, &signers[..quorum - 1]);
        assert_eq!(prove(&few, &one), Err(ProofError::NoQuorum { found: quorum - 1, needed: quorum }));
        assert!(matches!(prove(&of(Prevote, &signers), &one), Err(ProofError::Mismatch { .. })));
        let other = one.qc(Precommit, 0, one.block(0, 2).hash(), &signers);
        assert!(matches!(prove(&other, &one), Err(ProofError::Mismatch { .. })));
    }
    let one = One::new(0, 4);
    let mut twice = one.qc(Precommit, 0, one.block(0, 1).hash(), &[0, 1, 2]);
    twice.signatures[1] = twice.signatures[0];
    assert!(matches!(prove(&twice, &one), Err(ProofError::Malformed(_))));
    let mut stranger = one.qc(Precommit, 0, one.block(0, 1).hash(), &[0, 1, 2]);
    stranger.signatures[2].0 = ValidatorIndex(200);
    assert_eq!(prove(&stranger, &one), Err(ProofError::BadSignature(ValidatorIndex(200))));
}

#[test]
fn no_flipped_bit_convinces() {
    let one = One::new(0, 4);
    let block = one.block(0, 1);
    let good = borsh::to_vec(&one.qc(Precommit, 0, block.hash(), &[0, 2, 3])).unwrap();
    let verify = |bytes: &[u8], chain| proof().verify(&chain, block.header(), bytes, &one.set);
    assert_eq!(verify(&good, CHAIN), Ok(()));
    assert!(verify(&good, ChainId::new([1; 32])).is_err(), "of another network");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bad, CHAIN).is_err(), "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(verify(&good[..len], CHAIN).is_err() && proof().certificate(&good[..len]).is_err());
    }
    assert_eq!(proof().certificate(&good).unwrap().signatures.len(), 3);
}

fn signed(one: &One, by: usize, kind: VoteKind, mark: Option<u8>) -> SignedVote {
    let block_hash = mark.map(|mark| one.block(0, mark).hash());
    SignedVote { block_hash, signature: one.vote_of(by, kind, 0, block_hash).signature }
}

#[test]
fn evidence_that_proves_nothing_is_refused() {
    let one = One::new(0, 4);
    let check = |evidence: &Evidence| proof().evidence(&CHAIN, &borsh::to_vec(evidence).unwrap(), &one.set);
    let vote = |by, mark| signed(&one, by, Precommit, mark);
    let votes = |kind, who, a, b| Evidence::votes(kind, (one.height(), quorate::Round(0)), ValidatorIndex(who), a, b);
    assert!(check(&votes(Precommit, 2, vote(2, Some(1)), vote(2, Some(2)))).is_ok());
    assert!(check(&votes(Precommit, 2, vote(2, Some(1)), vote(2, None))).is_ok(), "a block and none");
    assert!(check(&votes(Precommit, 2, vote(2, Some(1)), vote(2, Some(1)))).is_err(), "the same vote");
    assert!(check(&votes(Precommit, 2, vote(2, Some(1)), vote(1, Some(2)))).is_err(), "of two validators");
    assert!(check(&votes(Prevote, 2, vote(2, Some(1)), vote(2, Some(2)))).is_err(), "of another kind");
    assert!(check(&votes(Precommit, 9, vote(2, Some(1)), vote(2, Some(2)))).is_err(), "of nobody");
    let Evidence::Votes { kind, height, round, offender, first, second } =
        votes(Precommit, 2, vote(2, Some(1)), vote(2, None))
    else {
        unreachable!()
    };
    let swapped = Evidence::Votes { kind, height, round, offender, first: second, second: first };
    assert!(check(&swapped).is_err(), "one order only, or it would be counted twice");
    assert!(proof().evidence(&CHAIN, b"junk", &one.set).is_err() && proof().evidence_height(b"").is_err());
}

/// A prevote and a precommit of one round, or votes of two rounds, are no evidence: honest validators give both.
#[test]
fn two_proposals_are_evidence_against_the_one_whose_turn_it_was() {
    let one = One::new(0, 4);
    let round = quorate::Round(0);
    let propose = |by: usize, mark, polka| {
        let block_hash = one.block(0, mark).hash();
        let request = proposal_request(one.height(), round, &block_hash, polka);
        SignedProposal { block_hash, polka, signature: sign(by, &request) }
    };
    let check = |a, b| {
        let evidence = Evidence::proposals(one.height(), round, a, b);
        proof().evidence(&CHAIN, &borsh::to_vec(&evidence).unwrap(), &one.set)
    };
    let found = check(propose(1, 1, None), propose(1, 2, None)).unwrap();
    assert_eq!(one.set.index_of(&found.offender), Some(ValidatorIndex(1)));
    assert!(check(propose(1, 1, None), propose(1, 1, Some(round))).is_ok(), "one block in two ways");
    assert!(check(propose(1, 1, None), propose(1, 1, None)).is_err());
    assert!(check(propose(2, 1, None), propose(2, 2, None)).is_err(), "it was not its turn");
}
