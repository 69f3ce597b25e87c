//! What is costly: signatures and proofs, once a transaction. They rest on drafts, sealed lists, manifests and reveals, which never change
//! once an earlier block has made them.

use std::collections::{BTreeMap, btree_map::Entry};

use quorate::{
    Bytes,
    application::{Rejection, StateRead},
};
use quorate_ballot::{
    ballot::{self, Ballot, BallotError, BallotHead, ElectionKey},
    batch,
    codec::{DecodeError, Problem},
    contest::Rules,
    dkg::{self, Accusation, Parties},
    group::Element,
    record::{Body, Draft, Kind, ListSignature, Seat, Transaction, list_message},
    schnorr,
    transcript::Tag,
};

use crate::{
    application::Voting,
    refusal::{Refusal, Ruled},
    rules,
    store::{self, Id, Terms},
};

/// The elections that the ballots of a call name: each is read once.
type Elections = BTreeMap<Id, Option<Known>>;

/// What of an election its ballots rest on.
struct Known {
    terms: Terms,
    key: ElectionKey,
    rules: Rules,
}

/// Verdicts in the order of the transactions. Ballots of one election are verified together.
pub(crate) fn verify(voting: &Voting, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
    let mut elections = Elections::new();
    let mut ballots: BTreeMap<Id, Vec<(usize, Ballot)>> = BTreeMap::new();
    let mut verdicts: Vec<Result<(), Rejection>> = Vec::with_capacity(transactions.len());
    for (at, bytes) in transactions.iter().enumerate() {
        let verdict = match decode(bytes) {
            Ok(Transaction { body: Body::Ballot(ballot), .. }) => {
                read_ballot(state, &mut elections, &ballot).map(|ballot| {
                    ballots.entry(*ballot.eid()).or_default().push((at, ballot));
                })
            }
            Ok(transaction) => verify_other(voting, state, &transaction),
            Err(refusal) => Err(refusal),
        };
        verdicts.push(verdict.map_err(Rejection::from));
    }
    for (eid, of_election) in &ballots {
        let Some(Some(known)) = elections.get(eid) else { continue };
        let all: Vec<&Ballot> = of_election.iter().map(|(_, ballot)| ballot).collect();
        let found = batch::verify_batch(&known.key, &known.rules, &all);
        for ((at, _), verdict) in of_election.iter().zip(found) {
            if let (Some(slot), Err(error)) = (verdicts.get_mut(*at), verdict) {
                *slot = Err(wrong_ballot(&error).into());
            }
        }
    }
    verdicts
}

/// Reads a transaction.
pub(crate) fn decode(bytes: &[u8]) -> Ruled<Transaction> {
    Transaction::decode(bytes).map_err(|error| match bytes.first().copied().and_then(Kind::of) {
        Some(Kind::Draft) => Refusal::malformed(4, "draft.invalid", error),
        _ => Refusal::malformed(1, "parse", error),
    })
}

/// A ballot's error under its rule.
pub(crate) fn wrong_ballot(error: &BallotError) -> Refusal {
    match error {
        BallotError::Signature => Refusal::not_authentic(22, "ballot.signature", error),
        BallotError::BitProof { .. } | BallotError::SumProof { .. } => {
            Refusal::not_authentic(24, "ballot.proof", error)
        }
        BallotError::Election => Refusal::not_allowed(20, "ballot.election", error),
        BallotError::Decode(DecodeError {
            problem: Problem::NotCanonical | Problem::Identity | Problem::NotReduced,
            ..
        }) => Refusal::malformed(23, "ballot.encoding", error),
        _ => Refusal::malformed(20, "ballot.parse", error),
    }
}

fn read_ballot(state: &dyn StateRead, elections: &mut Elections, bytes: &[u8]) -> Ruled<Ballot> {
    let head = BallotHead::read(bytes).map_err(|error| wrong_ballot(&error))?;
    let known = match elections.entry(head.eid) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(known(state, &head.eid)?),
    };
    let Some(known) = known else { return Err(rules::no_election(20, &head.eid)) };
    rules::listed(state, &known.terms, &head)?;
    Ballot::decode(bytes, &known.rules).map_err(|error| {
        // The signature is what is looked at first (V22 before V23).
        let first = ballot::verify_signature(bytes, &known.rules).err();
        wrong_ballot(first.as_ref().unwrap_or(&error))
    })
}

fn known(state: &dyn StateRead, eid: &Id) -> Ruled<Option<Known>> {
    let Some(terms) = store::terms(state, eid)? else { return Ok(None) };
    let (rules, y) = (terms.rules()?, terms.y()?);
    Ok(Some(Known { terms, key: ElectionKey { eid: *eid, y }, rules }))
}

fn verify_other(voting: &Voting, state: &dyn StateRead, transaction: &Transaction) -> Ruled {
    match &transaction.body {
        Body::Draft(draft) => {
            rules::draft_is_ours(voting, draft)?;
            signed_by(transaction, &draft.admin, "the draft's admin")
        }
        Body::Entries { draft, registrar, .. } => {
            let draft = rules::known_draft(state, draft)?;
            signed_by(transaction, rules::registrar(&draft, *registrar)?, "the registrar")
        }
        Body::List { draft: id, count, root, signatures, .. } => {
            let draft = rules::known_draft(state, id)?;
            list_signatures(&draft, &list_message(id, *count, root), signatures)
        }
        Body::Commitment { seat, .. } | Body::Ack { seat, .. } => {
            let draft = rules::known_draft(state, &seat.draft)?;
            signed_by(transaction, rules::trustee(&draft, seat.trustee)?, "the trustee")
        }
        Body::Reveal { seat, coefficients, proof, sealed } => {
            let draft = rules::known_draft(state, &seat.draft)?;
            signed_by(transaction, rules::trustee(&draft, seat.trustee)?, "the trustee")?;
            let cid = rules::ceremony(&draft, seat);
            for ((receiver, key), one) in (1u16..).zip(&draft.trustees.keys).zip(sealed) {
                if !dkg::is_proven(&Parties { cid, dealer: seat.trustee, receiver }, key, one) {
                    let what = format!(
                        "the share for trustee {receiver} has no proof that its maker knows the secret of its element"
                    );
                    return Err(Refusal::not_authentic(15, "reveal.sealed", what));
                }
            }
            if dkg::knows(&cid, seat.trustee, coefficients, proof) {
                Ok(())
            } else {
                Err(Refusal::not_authentic(15, "reveal.proof", "the proof of knowing the first coefficient is wrong"))
            }
        }
        Body::Complaint { seat, dealer, shared, c, z } => {
            let draft = rules::known_draft(state, &seat.draft)?;
            signed_by(transaction, rules::trustee(&draft, seat.trustee)?, "the trustee")?;
            justified(state, &draft, (seat, *dealer), &Accusation { shared: *shared, c: *c, z: *z })
        }
        Body::Restart { draft, .. } | Body::Open { draft, .. } => {
            let draft = rules::known_draft(state, draft)?;
            signed_by(transaction, &draft.admin, "the draft's admin")
        }
        Body::Share { eid, trustee, .. } => {
            let (_, manifest) = rules::known_election(state, 2, eid)?;
            signed_by(transaction, rules::trustee(&manifest.draft, *trustee)?, "the trustee")
        }
        // Nobody signs a close; ballots are read elsewhere.
        _ => Ok(()),
    }
}

fn signed_by(transaction: &Transaction, key: &Element, who: &str) -> Ruled {
    if transaction.is_signed_by(key) {
        return Ok(());
    }
    Err(Refusal::not_authentic(3, "signature", format!("it is not signed by {who}, whose key is {key}")))
}

fn list_signatures(draft: &Draft, message: &Id, signatures: &[ListSignature]) -> Ruled {
    rules::list_quorum(draft, signatures)?;
    for one in signatures {
        let key = rules::registrar(draft, one.registrar)?;
        if !schnorr::verify(Tag::RoleSig, key, message, &one.signature) {
            let what = format!("the signature of registrar {} is not over this count and root", one.registrar);
            return Err(Refusal::not_authentic(12, "list.quorum", what));
        }
    }
    Ok(())
}

fn justified(state: &dyn StateRead, draft: &Draft, (seat, dealer): (&Seat, u16), accusation: &Accusation) -> Ruled {
    let accuser = rules::trustee(draft, seat.trustee)?;
    rules::trustee(draft, dealer)?;
    if dealer == seat.trustee {
        return Err(Refusal::malformed(17, "complaint.self", "a trustee complains about itself"));
    }
    let Some(reveal) = store::reveal(state, &Seat { trustee: dealer, ..*seat })? else {
        let what = format!("trustee {dealer} has revealed nothing in attempt {}", seat.attempt);
        return Err(Refusal::not_allowed(17, "complaint.early", what));
    };
    let place = usize::from(seat.trustee).saturating_sub(1);
    let Some(sealed) = reveal.sealed.get(place) else {
        return Err(Refusal::not_allowed(17, "complaint.early", "the dealer sealed no share for this trustee"));
    };
    let parties = Parties { cid: rules::ceremony(draft, seat), dealer, receiver: seat.trustee };
    dkg::judge(&parties, accuser, &reveal.coefficients, sealed, accusation).map_err(|error| {
        let code = if error == dkg::DkgError::False { "complaint.false" } else { "complaint.proof" };
        Refusal::not_authentic(17, code, error)
    })
}
