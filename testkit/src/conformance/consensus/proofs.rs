//! Proofs of finality and of misbehaviour.

use bytes::Bytes;
use quorate::{ChainId, Hash, Header, PublicKey, Validator, ValidatorSet};

use super::{
    super::{
        bytes::{hostile, shown},
        rule::{OrBroken, Outcome, Trouble, broken, ensure},
    },
    ConsensusSuite,
    tape::{Final, finals, messages},
};
use crate::sim::Rng;

/// Hostile proofs.
const PROOFS: u64 = 3000;

/// What all engines of the recorded network made final.
fn all_finals(suite: &ConsensusSuite<'_>) -> Result<Vec<Final>, Trouble> {
    let finals: Vec<Final> = suite.tapes()?.iter().flat_map(|tape| finals(tape)).collect();
    ensure(!finals.is_empty(), || "in a network without faults nothing became final".into())?;
    Ok(finals)
}

/// As many validators with other keys.
fn strangers(validators: &ValidatorSet) -> Result<ValidatorSet, Trouble> {
    let others = validators.iter().map(|(index, one)| Validator {
        name: one.name.clone(),
        public_key: PublicKey::new(*Hash::of(&[b"stranger", &index.0.to_le_bytes()]).as_bytes()),
    });
    ValidatorSet::new(others.collect()).or_broken("making a set of other validators")
}

pub(super) fn one_block(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    let (checker, chain_id, finals) = (suite.proof()?, suite.own_context()?.chain_id, all_finals(suite)?);
    for Final { header, proof, validators } in &finals {
        let height = header.height;
        checker
            .verify(&chain_id, header, proof, validators)
            .or_broken(format!("verifying the proof with which block {height} was committed"))?;
        checker.certificate(proof).or_broken(format!("reading the proof of block {height}"))?;
        let mut forged = header.clone();
        forged.app_hash = Hash::of(&[b"forged"]);
        let other_chain = ChainId::new([0xee; 32]);
        let cut = proof.get(..proof.len() / 2).unwrap_or_default();
        let tries = [
            ("a changed block", checker.verify(&chain_id, &forged, proof, validators)),
            ("another network", checker.verify(&other_chain, header, proof, validators)),
            ("other validators", checker.verify(&chain_id, header, proof, &strangers(validators)?)),
            ("itself, cut in half,", checker.verify(&chain_id, header, cut, validators)),
            ("itself, when empty,", checker.verify(&chain_id, header, &[], validators)),
        ];
        for (what, verified) in tries {
            ensure(verified.is_err(), || format!("the proof of block {height} convinces of {what} too"))?;
        }
    }
    let proofs: Vec<Bytes> = finals.iter().map(|one| one.proof.clone()).collect();
    for _ in 0..PROOFS {
        let bytes = hostile(rng, &proofs);
        let Some(Final { header, validators, .. }) = rng.pick(&finals) else { break };
        let mut forged = header.clone();
        forged.app_hash = Hash::of(&[b"forged"]);
        // What is read of it does not matter; it must be read without a panic.
        drop(checker.certificate(&bytes));
        ensure(checker.verify(&chain_id, &forged, &bytes, validators).is_err(), || {
            format!("{} convinces of a block that was never proposed", shown(&bytes))
        })?;
    }
    Ok(())
}

pub(super) fn together(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    let (checker, chain_id, finals) = (suite.proof()?, suite.own_context()?.chain_id, all_finals(suite)?);
    let Some(Final { validators, .. }) = finals.first() else { return Ok(()) };
    let mut blocks = Vec::new();
    for Final { header, proof, .. } in finals.iter().filter(|one| one.validators == *validators) {
        let mut forged = header.clone();
        forged.app_hash = Hash::of(&[b"forged"]);
        let mut spoiled = proof.to_vec();
        if let Some(byte) = spoiled.last_mut() {
            *byte ^= 1;
        }
        let cut = proof.slice(..proof.len() / 2);
        blocks.extend([
            (header.clone(), proof.clone()),
            (forged, proof.clone()),
            (header.clone(), spoiled.into()),
            (header.clone(), cut),
        ]);
    }
    rng.shuffle(&mut blocks);
    let items: Vec<(&Header, &[u8])> = blocks.iter().map(|(header, proof)| (header, proof.as_ref())).collect();
    let found = checker.verify_many(&chain_id, &items, validators);
    ensure(found.len() == items.len(), || format!("{} answers to {} proofs", found.len(), items.len()))?;
    for ((header, proof), found) in items.into_iter().zip(found) {
        let alone = checker.verify(&chain_id, header, proof, validators);
        ensure(found == alone, || {
            format!("of a proof of block {} it says {found:?} among others, and {alone:?} of it alone", header.height)
        })?;
    }
    Ok(())
}

pub(super) fn accuse_nobody(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    let (checker, context) = (suite.proof()?, suite.own_context()?);
    let mut good = messages(suite.tapes()?);
    good.extend(suite.tapes()?.iter().flat_map(|tape| finals(tape)).map(|one| one.proof));
    for at in 0..PROOFS {
        // What honest validators say, as it is, and changed.
        let bytes = match good.get(usize::try_from(at).unwrap_or(usize::MAX)) {
            Some(bytes) => bytes.clone(),
            None => hostile(rng, &good),
        };
        drop(checker.evidence_height(&bytes));
        if let Ok(misbehaviour) = checker.evidence(&context.chain_id, &bytes, &context.validators) {
            return broken(format!("{} is taken for evidence of {misbehaviour:?}", shown(&bytes)));
        }
    }
    Ok(())
}
