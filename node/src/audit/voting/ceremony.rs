//! The trustees' key ceremony.

use quorate_ballot::{
    dkg::{self, Accusation, DkgError, Parties, Revealed},
    group::Element,
    record::{Body, Receipt, Seat, Transaction},
};

use super::{
    Checked, Place, broken, must,
    officers::signed,
    state::{Ceremony, Drafted, Elections, Id},
    unlike,
};

/// Attempts at most.
const ATTEMPTS_MAX: u32 = 1000;

/// The id of the ceremony at its present attempt.
pub(super) fn id_of(draft: &Id, drafted: &Drafted) -> Id {
    let trustees = &drafted.draft.trustees;
    dkg::ceremony_id(&drafted.draft.chain_id, draft, &trustees.keys, trustees.needed, drafted.ceremony.attempt)
}

fn goes_on(drafted: &Drafted, attempt: u32) -> Checked<()> {
    let n = usize::from(drafted.draft.trustees.count());
    must(13, drafted.ceremony.acks.len() < n, || "the ceremony is over".into())?;
    let right = drafted.ceremony.attempt;
    must(13, right == attempt, || format!("the attempt is {right}, not {attempt}"))
}

fn seat_of(body: &Body) -> Option<Seat> {
    match body {
        Body::Commitment { seat, .. }
        | Body::Reveal { seat, .. }
        | Body::Ack { seat, .. }
        | Body::Complaint { seat, .. } => Some(*seat),
        _ => None,
    }
}

/// The trustee of a seat has signed, in the present attempt.
fn seated<'a>(
    elections: &'a mut Elections,
    place: &Place<'_>,
    transaction: &Transaction,
) -> Checked<(Seat, &'a mut Drafted)> {
    let Some(seat) = seat_of(&transaction.body) else { return unlike(&transaction.body) };
    let drafted = elections.draft(place.fresh, &seat.draft)?;
    let Some(key) = drafted.draft.trustees.key(seat.trustee) else {
        return broken(14, format!("there is no trustee {}", seat.trustee));
    };
    signed(transaction, key, "the trustee")?;
    goes_on(drafted, seat.attempt)?;
    Ok((seat, drafted))
}

/// A commitment, a reveal or an ack.
pub(super) fn step(elections: &mut Elections, place: &mut Place<'_>, transaction: &Transaction) -> Checked {
    let (seat, drafted) = seated(elections, place, transaction)?;
    let twice = || format!("trustee {} has sent it before", seat.trustee);
    let count = match &transaction.body {
        Body::Commitment { commitment, .. } => {
            let before = drafted.ceremony.commitments.insert(seat.trustee, *commitment);
            must(14, before.is_none(), twice)?;
            drafted.ceremony.commitments.len()
        }
        Body::Reveal { coefficients, proof, sealed, .. } => {
            let revealed = Revealed { coefficients: coefficients.clone(), proof: *proof, sealed: sealed.clone() };
            reveal(drafted, &seat, &revealed)?;
            must(14, drafted.ceremony.reveals.insert(seat.trustee, revealed).is_none(), twice)?;
            place.fresh.reveals.insert((seat.draft, seat.attempt, seat.trustee));
            joint_key(drafted)?;
            drafted.ceremony.reveals.len()
        }
        Body::Ack { transcript, .. } => {
            let (there, n) = (drafted.ceremony.reveals.len(), drafted.draft.trustees.count());
            must(16, there == usize::from(n), || format!("{there} of {n} trustees have revealed"))?;
            let reveals: Vec<Revealed> = drafted.ceremony.reveals.values().cloned().collect();
            let right = dkg::transcript(&id_of(&seat.draft, drafted), &reveals);
            must(16, right == *transcript, || format!("the transcript's hash is {}", super::hex(&right)))?;
            must(14, drafted.ceremony.acks.insert(seat.trustee), twice)?;
            drafted.ceremony.acks.len()
        }
        other => return unlike(other),
    };
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    Ok(Receipt::Step { kind: transaction.body.kind(), seat, count })
}

fn reveal(drafted: &Drafted, seat: &Seat, revealed: &Revealed) -> Checked<()> {
    let (n, t) = (drafted.draft.trustees.count(), drafted.draft.trustees.needed);
    let there = drafted.ceremony.commitments.len();
    must(15, there == usize::from(n), || format!("{there} of {n} trustees have committed themselves"))?;
    let counts = (revealed.coefficients.len(), revealed.sealed.len());
    must(15, counts == (usize::from(t), usize::from(n)), || {
        format!("{} coefficients and {} shares", counts.0, counts.1)
    })?;
    let cid = id_of(&seat.draft, drafted);
    let commitment = dkg::commitment(&cid, seat.trustee, &revealed.coefficients);
    let is_committed = drafted.ceremony.commitments.get(&seat.trustee) == Some(&commitment);
    must(15, is_committed, || "the coefficients are not those committed to".into())?;
    let is_known = dkg::knows(&cid, seat.trustee, &revealed.coefficients, &revealed.proof);
    must(15, is_known, || "the proof of knowing the first coefficient is wrong".into())?;
    let receivers = (1u16..).zip(&drafted.draft.trustees.keys);
    let is_proven = receivers
        .zip(&revealed.sealed)
        .all(|((receiver, key), one)| dkg::is_proven(&Parties { cid, dealer: seat.trustee, receiver }, key, one));
    must(15, is_proven, || "a sealed share has no proof that its maker knows the secret of its element".into())
}

/// With the last reveal, the keys are none of them the identity.
fn joint_key(drafted: &Drafted) -> Checked<()> {
    let reveals = &drafted.ceremony.reveals;
    if reveals.len() < usize::from(drafted.draft.trustees.count()) {
        return Ok(());
    }
    let coefficients: Vec<Vec<Element>> = reveals.values().map(|one| one.coefficients.clone()).collect();
    dkg::public_keys(&coefficients).map(drop).map_err(|error| format!("rule V15: {error}"))
}

/// A complaint or a restart.
pub(super) fn again(elections: &mut Elections, place: &mut Place<'_>, transaction: &Transaction) -> Checked {
    let kind = transaction.body.kind();
    let (draft, drafted, why) = match &transaction.body {
        Body::Restart { draft, attempt } => {
            let drafted = elections.draft(place.fresh, draft)?;
            signed(transaction, &drafted.draft.admin, "the draft's admin")?;
            goes_on(drafted, *attempt)?;
            (*draft, drafted, "begun anew by the admin".to_owned())
        }
        Body::Complaint { dealer, shared, c, z, .. } => {
            let (seat, drafted) = seated(elections, place, transaction)?;
            let is_fresh = place.fresh.reveals.contains(&(seat.draft, seat.attempt, *dealer));
            must(17, !is_fresh, || "it rests on a reveal of the same block".into())?;
            complaint(drafted, &seat, *dealer, &Accusation { shared: *shared, c: *c, z: *z })?;
            (seat.draft, drafted, format!("trustee {dealer} sent trustee {} a wrong share", seat.trustee))
        }
        other => return unlike(other),
    };
    let attempt = drafted.ceremony.attempt + 1;
    must(13, attempt < ATTEMPTS_MAX, || format!("there were {ATTEMPTS_MAX} attempts"))?;
    drafted.ended.push(why);
    drafted.ceremony = Ceremony { attempt, ..Ceremony::default() };
    Ok(Receipt::Again { kind, draft, attempt })
}

fn complaint(drafted: &Drafted, seat: &Seat, dealer: u16, accusation: &Accusation) -> Checked<()> {
    must(17, dealer != seat.trustee, || "a trustee complains about itself".into())?;
    let trustees = &drafted.draft.trustees;
    let Some(revealed) = drafted.ceremony.reveals.get(&dealer) else {
        return broken(17, format!("trustee {dealer} has revealed nothing"));
    };
    let sealed = usize::from(seat.trustee).checked_sub(1).and_then(|at| revealed.sealed.get(at));
    let (Some(key), Some(sealed)) = (trustees.key(seat.trustee), sealed) else {
        return broken(17, "there is no such share");
    };
    let parties = Parties { cid: id_of(&seat.draft, drafted), dealer, receiver: seat.trustee };
    dkg::judge(&parties, key, &revealed.coefficients, sealed, accusation)
        .map_err(|error: DkgError| format!("rule V17: {error}"))
}
