//! All rules but costly proofs, for the pool.

use quorate::{Timestamp, application::StateRead};
use quorate_ballot::{
    ballot::BallotHead,
    dkg::Revealed,
    record::{Body, Kind, Seat, Transaction},
};

use super::{
    ack, ballot, close, commitment, draft, enrolment::list_is_open, entries, known_stage, list, next_attempt, open,
    reveal, share,
};
use crate::{
    application::Voting,
    refusal::{Refusal, Ruled},
    store::{self, SealedList},
};

/// All rules but costly proofs, for the pool; gives what tells apart transactions that exclude each other, with the place among them.
pub(crate) fn check(
    voting: &Voting,
    state: &dyn StateRead,
    now: Timestamp,
    transaction: &Transaction,
) -> Ruled<Admitted> {
    let kind = transaction.body.kind();
    let one = |parts: &[&[u8]]| Admitted::new(kind, parts);
    Ok(match &transaction.body {
        Body::Draft(body) => {
            draft(voting, state, now, body)?;
            one(&[&body.hash()])
        }
        Body::Entries { draft, registrar, first, entries: list } => {
            let count = store::area(state, draft, *registrar)?.tree.leaves();
            let admitted = one(&[draft, &registrar.to_be_bytes()]);
            if *first > count {
                // A later part of the list waits for those before it.
                let (known, stage) = known_stage(state, draft)?;
                super::registrar(&known, *registrar)?;
                list_is_open(&stage)?;
                return Ok(Admitted { sequence: (*first).into(), next: count.into(), ..admitted });
            }
            entries(state, draft, (*registrar, *first), list)?;
            // Beginning anew is next, wherever the area is.
            Admitted { sequence: count.into(), next: count.into(), ..admitted }
        }
        Body::List { draft, registrar, count, root, signatures } => {
            list(state, draft, &SealedList { registrar: *registrar, count: *count, root: *root }, signatures)?;
            one(&[draft])
        }
        Body::Commitment { seat, .. } => {
            commitment(state, seat)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Reveal { seat, coefficients, proof, sealed } => {
            let revealed = Revealed { coefficients: coefficients.clone(), proof: *proof, sealed: sealed.clone() };
            reveal(state, seat, &revealed)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Ack { seat, transcript } => {
            ack(state, seat, transcript)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Complaint { seat, .. } => {
            next_attempt(state, &seat.draft, seat.attempt)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Restart { draft, attempt } => {
            next_attempt(state, draft, *attempt)?;
            one(&[draft])
        }
        Body::Open { draft, eid } => {
            open(state, now, draft, eid)?;
            one(&[draft])
        }
        Body::Ballot(bytes) => {
            let head = BallotHead::read(bytes).map_err(|error| crate::verify::wrong_ballot(&error))?;
            ballot(state, now, bytes.len(), &head)?;
            one(&[&head.eid, &head.index.to_be_bytes()])
        }
        Body::Close { eid } => {
            close(state, now, eid)?;
            one(&[eid])
        }
        Body::Share { eid, tally, trustee, parts } => {
            share(state, (eid, tally), (*trustee, parts.len()))?;
            one(&[eid, &trustee.to_be_bytes()])
        }
        _ => return Err(Refusal::malformed(1, "parse", "the kind is not known")),
    })
}

/// What the pool tells transactions apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) sender: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) next: u64,
}

impl Admitted {
    fn new(kind: Kind, parts: &[&[u8]]) -> Self {
        let mut sender = vec![kind.byte()];
        parts.iter().for_each(|part| sender.extend_from_slice(part));
        Self { sender, sequence: 0, next: 0 }
    }

    fn of_seat(kind: Kind, seat: &Seat) -> Self {
        Self::new(kind, &[&seat.draft, &seat.attempt.to_be_bytes(), &seat.trustee.to_be_bytes()])
    }
}
