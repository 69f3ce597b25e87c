//! What kernels say to each other, beside consensus: transactions, evidence, how high they are, and blocks.
//!
//! The payload of [`Class::Consensus`](quorate::transport::Class) is described in `named`. The other classes carry a tag byte and
//! lists of (length:u32le, bytes).

use bytes::{BufMut, Bytes, BytesMut};
use quorate::{Hash, Height, transport::MESSAGE_BYTES_MAX};

use crate::intake::TRANSACTION_BYTES_MAX;

/// Transactions in one message at most.
pub(crate) const TRANSACTIONS_PER_MESSAGE: usize = 1024;

/// Bytes of transactions in one message, after which another is begun.
pub(crate) const TRANSACTION_BYTES_PER_MESSAGE: usize = 512 << 10;

/// Bytes of a message of transactions at most: each of them that waits keeps all of it.
const TRANSACTIONS_BYTES_MAX: usize = 1 + TRANSACTION_BYTES_PER_MESSAGE + 4 * TRANSACTIONS_PER_MESSAGE;

/// Proofs of misbehaviour in one message at most: the loop checks them.
pub(crate) const EVIDENCE_PER_MESSAGE: usize = 64;

/// Blocks in one message at most.
pub(crate) const BLOCKS_PER_MESSAGE: usize = 512;

/// Bytes of blocks that are asked for at once.
pub(crate) const BLOCK_BYTES_WANTED: u32 = 4 << 20;

/// The tag of [`Message::Transactions`].
const TRANSACTIONS: u8 = 1;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Transactions for the pool.
    Transactions(Vec<Bytes>),
    /// Proofs of misbehaviour.
    Evidence(Vec<Bytes>),
    /// The sender's last final block.
    Status { height: Height, hash: Hash },
    /// Asks for final blocks.
    BlockRequest { from: Height, bytes_max: u32 },
    /// Final blocks with their proofs, ascending, and the sender's height.
    Blocks { height: Height, blocks: Vec<(Bytes, Bytes)> },
    /// Instead of blocks that were removed: the sender's height, and the lowest whose block it has.
    Pruned { height: Height, blocks_from: Height },
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Transactions(items) | Self::Evidence(items) => {
                out.reserve(1 + items.iter().map(|item| item.len() + 4).sum::<usize>());
                out.put_u8(if matches!(self, Self::Transactions(_)) { TRANSACTIONS } else { 2 });
                for item in items {
                    put(&mut out, item);
                }
            }
            Self::Status { height, hash } => {
                out.put_u8(3);
                out.put_u64_le(height.0);
                out.put_slice(hash.as_bytes());
            }
            Self::BlockRequest { from, bytes_max } => {
                out.put_u8(4);
                out.put_u64_le(from.0);
                out.put_u32_le(*bytes_max);
            }
            Self::Blocks { height, blocks } => {
                out.reserve(9 + blocks.iter().map(|(block, proof)| block.len() + proof.len() + 8).sum::<usize>());
                out.put_u8(5);
                out.put_u64_le(height.0);
                for (block, proof) in blocks {
                    put(&mut out, block);
                    put(&mut out, proof);
                }
            }
            Self::Pruned { height, blocks_from } => {
                out.put_u8(6);
                out.put_u64_le(height.0);
                out.put_u64_le(blocks_from.0);
            }
        }
        out.freeze()
    }

    /// Reads a message; `None` for anything else.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let rest = bytes.slice(1.min(bytes.len())..);
        let u64_at = |at: usize| rest.get(at..at + 8).and_then(|raw| raw.try_into().ok()).map(u64::from_le_bytes);
        match bytes.first()? {
            &TRANSACTIONS => {
                let items =
                    (bytes.len() <= TRANSACTIONS_BYTES_MAX).then(|| list(&rest, TRANSACTIONS_PER_MESSAGE))??;
                items.iter().all(|item| item.len() <= TRANSACTION_BYTES_MAX).then_some(Self::Transactions(items))
            }
            2 => list(&rest, EVIDENCE_PER_MESSAGE).map(Self::Evidence),
            3 if rest.len() == 40 => {
                let hash: [u8; 32] = rest.get(8..)?.try_into().ok()?;
                Some(Self::Status { height: Height(u64_at(0)?), hash: Hash::new(hash) })
            }
            4 if rest.len() == 12 => {
                let bytes_max = u32::from_le_bytes(rest.get(8..)?.try_into().ok()?);
                Some(Self::BlockRequest { from: Height(u64_at(0)?), bytes_max })
            }
            5 => {
                let height = Height(u64_at(0)?);
                let items = list(&rest.slice(8..), BLOCKS_PER_MESSAGE * 2)?;
                let (pairs, rest) = items.as_chunks::<2>();
                let blocks = pairs.iter().map(|[block, proof]| (block.clone(), proof.clone())).collect();
                rest.is_empty().then_some(Self::Blocks { height, blocks })
            }
            6 if rest.len() == 16 => Some(Self::Pruned { height: Height(u64_at(0)?), blocks_from: Height(u64_at(8)?) }),
            _ => None,
        }
    }
}

fn list(bytes: &Bytes, limit: usize) -> Option<Vec<Bytes>> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if items.len() == limit {
            return None;
        }
        let len = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        let end = (at + 4).checked_add(len).filter(|end| *end <= bytes.len())?;
        items.push(bytes.slice(at + 4..end));
        at = end;
    }
    Some(items)
}

/// Puts transactions into as few messages as may be, encoded once for all who get them.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    full: Vec<Bytes>,
    current: BytesMut,
    count: usize,
}

impl Outgoing {
    pub(crate) fn add(&mut self, transaction: &[u8]) {
        if self.count == TRANSACTIONS_PER_MESSAGE
            || self.current.len() + transaction.len() > TRANSACTION_BYTES_PER_MESSAGE
        {
            self.end_message();
        }
        if self.count == 0 {
            self.current.put_u8(TRANSACTIONS);
        }
        self.count += 1;
        put(&mut self.current, transaction);
    }

    /// The messages.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.end_message();
        self.full
    }

    fn end_message(&mut self) {
        if self.count > 0 {
            self.full.push(std::mem::take(&mut self.current).freeze());
            self.count = 0;
        }
    }
}

fn put(out: &mut BytesMut, item: &[u8]) {
    out.put_u32_le(u32::try_from(item.len()).unwrap_or(u32::MAX));
    out.put_slice(item);
}

#[cfg(test)]
mod tests {
    use quorate::block::EVIDENCE_BYTES_MAX;

    use super::*;

    fn samples() -> Vec<Message> {
        vec![
            Message::Transactions(vec![Bytes::from_static(b"a"), Bytes::new()]),
            Message::Evidence(vec![Bytes::from_static(b"proof")]),
            Message::Status { height: Height(9), hash: Hash::new([3; 32]) },
            Message::BlockRequest { from: Height(2), bytes_max: 77 },
            Message::Blocks {
                height: Height(4),
                blocks: vec![(Bytes::from_static(b"block"), Bytes::from_static(b"qc"))],
            },
            Message::Pruned { height: Height(9), blocks_from: Height(7) },
        ]
    }

    #[test]
    fn every_message_reads_back() {
        for message in samples() {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn transactions_come_in_order_in_messages_that_are_read_back_and_keep_their_bounds() {
        let short: Vec<Bytes> =
            (0..TRANSACTIONS_PER_MESSAGE as u32 + 1).map(|n| n.to_le_bytes().to_vec().into()).collect();
        let long: Vec<Bytes> = (0..9).map(|fill| vec![fill; TRANSACTION_BYTES_PER_MESSAGE / 4].into()).collect();
        for (given, messages) in [(&[][..], 0), (&short[..1], 1), (&short[..], 2), (&long[..], 3)] {
            let mut outgoing = Outgoing::default();
            given.iter().for_each(|transaction| outgoing.add(transaction));
            let found = outgoing.finish();
            assert_eq!(found.len(), messages);
            let read = |bytes: &Bytes| match Message::decode(bytes) {
                Some(Message::Transactions(items)) => items,
                other => panic!("{other:?}"),
            };
            assert!(found.iter().all(|bytes| bytes.len() <= TRANSACTION_BYTES_PER_MESSAGE + 5));
            assert_eq!(found.iter().flat_map(read).collect::<Vec<_>>(), given);
        }
    }

    #[test]
    fn what_no_node_puts_into_a_message_is_none() {
        let of = |len: usize, count: usize| vec![Bytes::from(vec![7; len]); count];
        let is_read = |message: Message| Message::decode(&message.encode()).is_some();
        assert!(is_read(Message::Transactions(of(TRANSACTION_BYTES_MAX, 4))));
        assert!(!is_read(Message::Transactions(of(TRANSACTION_BYTES_MAX + 1, 1))));
        assert!(!is_read(Message::Transactions(of(TRANSACTION_BYTES_MAX, 5))));
        assert!(is_read(Message::Transactions(of(1, TRANSACTIONS_PER_MESSAGE))));
        assert!(!is_read(Message::Transactions(of(1, TRANSACTIONS_PER_MESSAGE + 1))));
        assert!(is_read(Message::Evidence(of(EVIDENCE_BYTES_MAX, EVIDENCE_PER_MESSAGE))));
        assert!(!is_read(Message::Evidence(of(1, EVIDENCE_PER_MESSAGE + 1))));
    }

    #[test]
    fn cut_and_random_bytes_are_refused_or_read_but_never_panic() {
        for message in samples() {
            let good = message.encode();
            for len in 0..good.len() {
                assert_ne!(Message::decode(&good.slice(..len)), Some(message.clone()));
            }
        }
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..state % 60)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 57) as u8
                })
                .collect();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Message::decode(&bytes.into());
        }
    }
}
