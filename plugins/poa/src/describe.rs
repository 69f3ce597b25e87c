//! Messages in words, for traces and timelines.

use borsh::BorshDeserialize;
use quorate::{Hash, block::HEADER_BYTES};

use crate::{
    certificate::{QuorumCertificate, TimeoutCertificate},
    message::Message,
};

fn short(hash: &Hash) -> String {
    hash.to_string().chars().skip(2).take(8).collect()
}

fn qc(qc: &QuorumCertificate) -> String {
    let who: Vec<String> = qc.signatures.iter().map(|(who, _)| who.to_string()).collect();
    format!("{:?}QC(r{} {} by {})", qc.kind, qc.round, short(&qc.block_hash), who.join(","))
}

fn maybe_qc(one: &Option<QuorumCertificate>) -> String {
    one.as_ref().map_or("no QC".into(), qc)
}

fn tc(one: &Option<TimeoutCertificate>) -> String {
    let Some(one) = one else { return "no TC".into() };
    let who: Vec<String> = one.entries.iter().map(|entry| entry.validator.to_string()).collect();
    format!("TC(r{} by {} high {})", one.round, who.join(","), maybe_qc(&one.high_qc))
}

/// A message in words; `None` when the bytes are none.
pub(crate) fn message(bytes: &[u8]) -> Option<String> {
    let message = Message::try_from_slice(bytes).ok()?;
    let height = message.height();
    let words = match &message {
        Message::Proposal(proposal) => {
            let head = proposal.block.get(..HEADER_BYTES).unwrap_or_default();
            let hash = Hash::of(&[b"quorate/header/1\0", head]);
            format!(
                "Proposal r{} {} justify {} {}",
                proposal.round,
                short(&hash),
                maybe_qc(&proposal.justify),
                tc(&proposal.timeout)
            )
        }
        Message::Vote(vote) => {
            format!("{:?} r{} {} of {}", vote.kind, vote.round, short(&vote.block_hash), vote.validator)
        }
        Message::Timeout(timeout) => {
            format!("Timeout r{} of {} high {}", timeout.round, timeout.validator, maybe_qc(&timeout.high_qc))
        }
        Message::NewRound(status) => format!("NewRound {} {}", tc(&status.timeout), maybe_qc(&status.high_qc)),
        Message::Certificate(one) => format!("Certificate {}", qc(one)),
        Message::Decided(one) => format!("Decided {}", qc(one)),
        Message::Hello { .. } => "Hello".into(),
        Message::Fetch { hash, .. } => format!("Fetch {}", short(hash)),
        Message::Body { .. } => "Body".into(),
    };
    Some(format!("h{height} {words}"))
}
