//! The other values which cross a boundary as borsh.

use quorate::{
    application::{Misbehaviour, QueryError, Rejection},
    borsh::{self, BorshDeserialize, BorshSerialize},
    consensus::{BlockLimits, Certificate, CommitBy, EngineStatus, Guard, SignRefused, SignRequest, Tip, Verdict},
    node::{BlockId, EvidenceRecord, Health, NodeStatus, PeerStatus, PoolStatus, RefusedPeer, Request, SubmitError},
};

use super::{Outcome, Taken, strict, taken};

/// Reads one of the types, chosen by the first byte.
type Reader = fn(&[u8]) -> Outcome;

fn read<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Outcome {
    Ok(taken(&strict::<T>(bytes)?))
}

const READERS: &[Reader] = &[
    read::<Request>,
    read::<NodeStatus>,
    read::<SubmitError>,
    read::<EvidenceRecord>,
    read::<PoolStatus>,
    read::<PeerStatus>,
    read::<RefusedPeer>,
    read::<BlockId>,
    read::<Health>,
    read::<SignRequest>,
    read::<SignRefused>,
    read::<Guard>,
    read::<Tip>,
    read::<BlockLimits>,
    read::<Verdict>,
    read::<CommitBy>,
    read::<EngineStatus>,
    read::<Certificate>,
    read::<Rejection>,
    read::<QueryError>,
    read::<Misbehaviour>,
];

fn seed(reader: u8, value: &impl BorshSerialize) -> Vec<u8> {
    let mut bytes = vec![reader];
    bytes.extend(borsh::to_vec(value).unwrap_or_default());
    bytes
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let query = Request::Query { path: "get".into(), params: b"{}".to_vec().into() };
    let status = NodeStatus {
        name: "validator-1".into(),
        detail: Some("1 of 2 needed".into()),
        refused: vec![RefusedPeer { address: "127.0.0.1:1".into(), reason: "another genesis".into(), count: 3 }],
        ..NodeStatus::default()
    };
    let full = SubmitError::PoolFull { count: 1, bytes: 2, retry_after_ms: 3 };
    let mut seeds = vec![
        seed(0, &query),
        seed(0, &Request::Submit(vec![7; 100].into())),
        seed(1, &status),
        seed(2, &full),
        seed(2, &SubmitError::Rejected(Rejection::Malformed("no".into()))),
        seed(9, &SignRequest { guard: Guard::default(), kind: 1, body: vec![1; 64] }),
        seed(14, &Verdict::Invalid("why".into())),
        seed(16, &EngineStatus::default()),
    ];
    seeds.extend((0..READERS.len()).map(|reader| vec![u8::try_from(reader).unwrap_or(0); 200]));
    seeds
}

pub(super) fn run(bytes: &[u8]) -> Outcome {
    let Some((first, rest)) = bytes.split_first() else { return Ok(Taken::No) };
    match READERS.get(usize::from(*first) % READERS.len()) {
        Some(reader) => reader(rest),
        None => Ok(Taken::No),
    }
}
