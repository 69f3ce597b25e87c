//! Messages in words, for people who follow a simulated network.

use borsh::BorshDeserialize as _;
use quorate::{Hash, block::HEADER_BYTES};

use crate::{
    certificate::QuorumCertificate,
    message::{Message, Vote},
};

fn short(hash: &Hash) -> String {
    hash.to_string().chars().skip(2).take(8).collect()
}

fn maybe(hash: &Option<Hash>) -> String {
    hash.as_ref().map_or("nil".into(), short)
}

fn qc(qc: &QuorumCertificate) -> String {
    let who: Vec<String> = qc.signatures.iter().map(|(who, _)| who.to_string()).collect();
    format!("{:?}s(r{} {} by {})", qc.kind, qc.round, short(&qc.block_hash), who.join(","))
}

fn maybe_qc(one: &Option<QuorumCertificate>) -> String {
    one.as_ref().map_or("no polka".into(), qc)
}

fn vote(vote: &Vote) -> String {
    format!("{:?} r{} {} of {}", vote.kind, vote.round, maybe(&vote.block_hash), vote.validator)
}

/// A message in words; `None` when the bytes are none.
pub(crate) fn message(bytes: &[u8]) -> Option<String> {
    let message = Message::try_from_slice(bytes).ok()?;
    let height = message.height();
    let words = match &message {
        Message::Proposal(proposal) => {
            let head = proposal.block.get(..HEADER_BYTES).unwrap_or_default();
            let hash = Hash::of(&[b"quorate/header/1\0", head]);
            format!("Proposal r{} {} {}", proposal.round, short(&hash), maybe_qc(&proposal.polka))
        }
        Message::Vote(one) => vote(one),
        Message::Status(status) => {
            let entry: Vec<String> = status.entry.iter().map(vote).collect();
            format!("Status r{} [{}] {}", status.round, entry.join("; "), maybe_qc(&status.polka))
        }
        Message::Decided(one) => format!("Decided {}", qc(one)),
        Message::Hello { .. } => "Hello".into(),
        Message::Fetch { hash, .. } => format!("Fetch {}", short(hash)),
        Message::Body { .. } => "Body".into(),
    };
    Some(format!("h{height} {words}"))
}
