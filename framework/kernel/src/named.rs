//! Consensus messages on their way between kernels: whole, or with a block in it whose transactions are named by their ids where peers hold them.
//!
//! A proposal says again what the pools of all have. Of a block with many transactions that is most of what a network sends. The one
//! who sends names those which lie in its own pool for long enough to be in everybody's; the one who receives puts the bytes
//! together from its pool, checks them against the digest of the whole, and gives them to its engine, which knows nothing of
//! this. What can't be put together is asked for, and sent whole; then messages go whole for a while, as the pools differ.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use quorate::{
    Block, Hash, Instant, PeerId, TransactionId,
    block::{BLOCK_TRANSACTIONS_MAX, HEADER_BYTES},
    transport::MESSAGE_BYTES_MAX,
};

use crate::keyed::Keyed;

/// A message with fewer bytes goes whole: asking for what is missing costs more than it saves.
const NAMED_BYTES_MIN: usize = 8 << 10;

/// How long a transaction must have been in the pool here to be named: by then it has come to the others or never will.
pub(crate) const HELD_FOR: Duration = Duration::from_millis(500);

/// Messages that go whole after somebody could not put one together.
const WHOLE_AFTER_WANTED: u32 = 32;

/// Messages that were sent named, kept whole for those who ask, at most.
const SENT_MAX: usize = 4;

/// Bytes of messages kept of one kind, sent or received; of what was sent the last is kept in any case.
const KEPT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Bytes of messages that are put together for one peer at once, and then a second: names are short, what is made of them is not.
const MADE_BYTES_MAX: u64 = 2 * MESSAGE_BYTES_MAX as u64;
const MADE_BYTES_PER_S: u64 = 16 << 20;

const WHOLE: u8 = 0;
const NAMED: u8 = 1;
const WANTED: u8 = 2;

/// What lies in a payload of the class of consensus: a tag byte, then
///
/// - 0: the engine's message;
/// - 1: `digest:32 before_len:u32le before count:u32le item* after`, an item being `0 id:32` or `1 len:u32le bytes`. The message is `before`, of
///   each item its transaction's length (u32le) and bytes, and `after`;
/// - 2: `digest:32` of a named message that could not be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framed {
    Whole(Bytes),
    Named(Named),
    Wanted(Hash),
}

/// A message of which transactions are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    digest: Hash,
    before: Bytes,
    items: Vec<Item>,
    after: Bytes,
    framed: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Id(TransactionId),
    Bytes(Bytes),
}

fn digest(message: &[u8]) -> Hash {
    Hash::of(&[b"quorate/message/1\0", message])
}

impl Framed {
    /// The payload of a whole message.
    pub(crate) fn whole(message: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + message.len());
        out.put_u8(WHOLE);
        out.put_slice(message);
        out.freeze()
    }

    /// The payload that asks for a message.
    pub(crate) fn wanted(digest: &Hash) -> Bytes {
        [&[WANTED][..], digest.as_bytes()].concat().into()
    }

    /// Reads a payload; `None` for anything else.
    pub(crate) fn decode(payload: &Bytes) -> Option<Self> {
        let rest = payload.slice(1.min(payload.len())..);
        match *payload.first()? {
            WHOLE => Some(Self::Whole(rest)),
            NAMED => Named::decode(rest, payload).map(Self::Named),
            WANTED => Some(Self::Wanted(Hash::new(rest[..].try_into().ok()?))),
            _ => None,
        }
    }
}

fn take(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= rest.len()).then(|| rest.split_to(len))
}

fn take_id(rest: &mut Bytes) -> Option<[u8; 32]> {
    take(rest, 32)?[..].try_into().ok()
}

fn take_u32(rest: &mut Bytes) -> Option<usize> {
    let raw = take(rest, 4)?[..].try_into().ok()?;
    usize::try_from(u32::from_le_bytes(raw)).ok()
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

impl Named {
    fn decode(mut rest: Bytes, framed: &Bytes) -> Option<Self> {
        let digest = Hash::new(take_id(&mut rest)?);
        let before_len = take_u32(&mut rest)?;
        let before = take(&mut rest, before_len)?;
        let count = take_u32(&mut rest).filter(|count| *count <= BLOCK_TRANSACTIONS_MAX)?;
        let (mut items, mut ids) = (Vec::new(), HashSet::with_hasher(Keyed::default()));
        for _ in 0..count {
            items.push(match *take(&mut rest, 1)?.first()? {
                0 => {
                    let id = TransactionId::new(take_id(&mut rest)?);
                    // No block has a transaction twice, and what one id stands for may be long.
                    if !ids.insert(id) {
                        return None;
                    }
                    Item::Id(id)
                }
                1 => {
                    let len = take_u32(&mut rest)?;
                    Item::Bytes(take(&mut rest, len)?)
                }
                _ => return None,
            });
        }
        (!ids.is_empty()).then(|| Self { digest, before, items, after: rest, framed: framed.clone() })
    }

    /// The digest of the whole message.
    pub(crate) fn digest(&self) -> &Hash {
        &self.digest
    }

    /// The payload of a message which holds `block`, with the transactions named that are `held` by all; `None` if there are none, or
    /// the message does not hold the block.
    fn encode(
        message: &Bytes,
        digest: &Hash,
        block: &Block,
        ids: &[TransactionId],
        held: impl Fn(&TransactionId) -> bool,
    ) -> Option<Bytes> {
        let encoded = block.encoded();
        let at = memchr::memmem::find(message, encoded.get(..HEADER_BYTES)?)?;
        let end = at.checked_add(encoded.len())?;
        if message.get(at..end)? != &encoded[..] || ids.len() != block.transactions().len() {
            return None;
        }
        let listed: usize = block.transactions().iter().map(|transaction| 4 + transaction.len()).sum();
        let (first, last) = (at + HEADER_BYTES + 4, at + HEADER_BYTES + 4 + listed);
        let mut out = BytesMut::with_capacity(message.len());
        out.put_u8(NAMED);
        out.put_slice(digest.as_bytes());
        put_bytes(&mut out, message.get(..first)?);
        out.put_u32_le(u32::try_from(ids.len()).ok()?);
        let mut names = 0usize;
        for (id, transaction) in ids.iter().zip(block.transactions()) {
            if transaction.len() > 32 && held(id) {
                names += 1;
                out.put_u8(0);
                out.put_slice(id.as_bytes());
            } else {
                out.put_u8(1);
                put_bytes(&mut out, transaction);
            }
        }
        out.put_slice(message.get(last..)?);
        (names > 0).then(|| out.freeze())
    }

    /// The transactions that are named, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &TransactionId> {
        self.items.iter().filter_map(|item| match item {
            Item::Id(id) => Some(id),
            Item::Bytes(_) => None,
        })
    }

    /// The message, put together with what `held` gives, asked for each of [`Self::ids`] in order, of which `allowed` says whether it may have so
    /// many bytes.
    pub(crate) fn whole(
        &self,
        mut held: impl FnMut(&TransactionId) -> Option<Bytes>,
        allowed: impl FnOnce(u64) -> bool,
    ) -> Result<Bytes, Unmade> {
        let mut found = Vec::with_capacity(self.items.len());
        let mut len = self.before.len().saturating_add(self.after.len());
        for item in &self.items {
            let transaction = match item {
                Item::Id(id) => held(id).ok_or(Unmade::Missing)?,
                Item::Bytes(bytes) => bytes.clone(),
            };
            len = len.saturating_add(4).saturating_add(transaction.len());
            found.push(transaction);
        }
        if len > MESSAGE_BYTES_MAX || !allowed(len as u64) {
            return Err(Unmade::TooMuch);
        }
        let mut out = BytesMut::with_capacity(len);
        out.put_slice(&self.before);
        found.iter().for_each(|transaction| put_bytes(&mut out, transaction));
        out.put_slice(&self.after);
        // An application may give transactions with different bytes one id.
        if digest(&out) == self.digest { Ok(out.freeze()) } else { Err(Unmade::Missing) }
    }
}

/// Why a message is not put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmade {
    /// Something is not here, or is not what was named: the message is asked for.
    Missing,
    /// It is too long, or its sender had too much put together: it is dropped.
    TooMuch,
}

/// A message that was sent or received named.
#[derive(Debug, Clone)]
struct Kept {
    digest: Hash,
    message: Bytes,
    framed: Bytes,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.message.len() + self.framed.len()
    }
}

/// What may be put together for one peer.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    bytes: u64,
    at: Instant,
}

/// The messages which were named last.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Sent by this node, the last one first, with those who got them whole: once each, so that nobody makes this node send
    /// them again and again.
    sent: VecDeque<(Kept, BTreeSet<PeerId>)>,
    /// The last one received of each peer, so that nobody's displaces another's.
    met: BTreeMap<PeerId, Kept>,
    /// By peer; only validators are heard here, so that they are few.
    allowances: BTreeMap<PeerId, Allowance>,
    /// Messages that go whole before the next is named.
    whole_left: u32,
}

impl Names {
    /// The payload for a message to all; `blocks` are those which it may hold, with the ids of their transactions.
    pub(crate) fn frame<'a>(
        &mut self,
        message: &Bytes,
        blocks: impl Iterator<Item = (&'a Block, &'a [TransactionId])>,
        held: impl Fn(&TransactionId) -> bool,
    ) -> Bytes {
        if message.len() < NAMED_BYTES_MIN {
            return Framed::whole(message);
        }
        if self.whole_left > 0 {
            self.whole_left -= 1;
            return Framed::whole(message);
        }
        if let Some((known, _)) = self.sent.iter().find(|(known, _)| known.message == *message) {
            return known.framed.clone();
        }
        // Everybody passes a proposal on.
        if let Some(known) = self.met.values().find(|known| known.message == *message).cloned() {
            let framed = known.framed.clone();
            self.keep_sent(known);
            return framed;
        }
        let digest = digest(message);
        let named = { blocks }.find_map(|(block, ids)| Named::encode(message, &digest, block, ids, &held));
        let Some(framed) = named else { return Framed::whole(message) };
        self.keep_sent(Kept { digest, message: message.clone(), framed: framed.clone() });
        framed
    }

    /// A message that was named before, by whomever.
    pub(crate) fn known(&self, named: &Named) -> Option<Bytes> {
        let mut all = self.sent.iter().map(|(known, _)| known).chain(self.met.values());
        all.find(|known| known.digest == named.digest).map(|known| known.message.clone())
    }

    /// Whether so many bytes may be put together for a peer now; takes them.
    pub(crate) fn allows(&mut self, from: PeerId, now: Instant, bytes: u64) -> bool {
        let allowance = self.allowances.entry(from).or_insert(Allowance { bytes: MADE_BYTES_MAX, at: now });
        let passed = u64::try_from(now.since(allowance.at).as_millis()).unwrap_or(u64::MAX);
        let more = passed.saturating_mul(MADE_BYTES_PER_S) / 1000;
        if more > 0 {
            *allowance = Allowance { bytes: allowance.bytes.saturating_add(more).min(MADE_BYTES_MAX), at: now };
        }
        let allowed = bytes <= allowance.bytes;
        if allowed {
            allowance.bytes -= bytes;
        }
        allowed
    }

    /// Keeps a message that `from` named, put together.
    pub(crate) fn keep(&mut self, from: PeerId, named: &Named, message: Bytes) {
        let kept = Kept { digest: named.digest, message, framed: named.framed.clone() };
        let others: usize = self.met.iter().filter(|(peer, _)| **peer != from).map(|(_, kept)| kept.bytes()).sum();
        if others.saturating_add(kept.bytes()) <= KEPT_BYTES_MAX {
            self.met.insert(from, kept);
        }
    }

    /// The payload for a peer which could not put a message together. The next ones go whole, also when it asks for one that is not here
    /// any more.
    pub(crate) fn give(&mut self, digest: &Hash, to: PeerId) -> Option<Bytes> {
        self.whole_left = WHOLE_AFTER_WANTED;
        let (known, given) = self.sent.iter_mut().find(|(known, _)| known.digest == *digest)?;
        given.insert(to).then(|| Framed::whole(&known.message))
    }

    /// Forgets a peer that is no validator any more, or is gone.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.met.remove(peer);
    }

    fn keep_sent(&mut self, kept: Kept) {
        self.sent.push_front((kept, BTreeSet::new()));
        let bytes = |sent: &VecDeque<(Kept, _)>| sent.iter().map(|(kept, _)| kept.bytes()).sum::<usize>();
        while self.sent.len() > SENT_MAX || (self.sent.len() > 1 && bytes(&self.sent) > KEPT_BYTES_MAX) {
            self.sent.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::sample;

    const PEER: PeerId = PeerId::new([7; 32]);

    fn id(transaction: &Bytes) -> TransactionId {
        TransactionId::new(*Hash::of(&[transaction]).as_bytes())
    }

    fn block(transactions: &[Bytes]) -> Block {
        sample::block(1, Hash::ZERO, transactions, &[Bytes::from_static(b"evidence")])
    }

    /// Transactions, a message with a block of them, the block, and who they are.
    fn message(count: u8) -> (Vec<Bytes>, Bytes, Block, Vec<TransactionId>) {
        let transactions: Vec<Bytes> =
            (0..count).map(|fill| Bytes::from(vec![fill; 200 + usize::from(fill)])).collect();
        let block = block(&transactions);
        let message = Bytes::from([b"before", &block.encoded()[..], b"and after"].concat());
        let ids = transactions.iter().map(id).collect();
        (transactions, message, block, ids)
    }

    fn pool(transactions: &[Bytes]) -> HashMap<TransactionId, Bytes> {
        transactions.iter().map(|transaction| (id(transaction), transaction.clone())).collect()
    }

    /// As the router does it.
    fn read(names: &mut Names, named: &Named, held: impl Fn(&TransactionId) -> Option<Bytes>) -> Option<Bytes> {
        if let Some(known) = names.known(named) {
            return Some(known);
        }
        let message = named.whole(held, |bytes| names.allows(PEER, Instant(1), bytes)).ok()?;
        names.keep(PEER, named, message.clone());
        Some(message)
    }

    fn named(payload: &Bytes) -> Named {
        let Some(Framed::Named(named)) = Framed::decode(payload) else { panic!("not named") };
        named
    }

    #[test]
    fn what_was_named_is_put_together_to_the_byte_and_is_much_shorter() {
        let (transactions, message, block, ids) = message(60);
        let mut sender = Names::default();
        let payload = sender.frame(&message, [(&block, &ids[..])].into_iter(), |_| true);
        assert!(payload.len() < message.len() / 4, "{} of {}", payload.len(), message.len());
        let pool = pool(&transactions);
        let mut receiver = Names::default();
        let made = read(&mut receiver, &named(&payload), |id| pool.get(id).cloned());
        assert_eq!(made.as_ref(), Some(&message));
        // Passed on as it came, without knowing the block.
        assert_eq!(receiver.frame(&message, [].into_iter(), |_| true), payload);
        // And known when it comes again, from whomever, without the pool.
        assert_eq!(read(&mut receiver, &named(&payload), |_| None), Some(message));
    }

    #[test]
    fn what_is_not_held_by_all_goes_as_bytes() {
        let (transactions, message, block, ids) = message(60);
        let payload = Names::default().frame(&message, [(&block, &ids[..])].into_iter(), |one| *one != ids[3]);
        let mut pool = pool(&transactions);
        pool.remove(&ids[3]);
        assert_eq!(read(&mut Names::default(), &named(&payload), |id| pool.get(id).cloned()), Some(message.clone()));
        pool.remove(&ids[4]);
        assert_eq!(read(&mut Names::default(), &named(&payload), |id| pool.get(id).cloned()), None);
        // Nothing to be named.
        let payload = Names::default().frame(&message, [(&block, &ids[..])].into_iter(), |_| false);
        assert_eq!(Framed::decode(&payload), Some(Framed::Whole(message)));
    }

    #[test]
    fn who_lacks_something_gets_it_whole_once_and_then_all_get_it_whole_for_a_while() {
        let (_, message, block, ids) = message(60);
        let mut sender = Names::default();
        let payload = sender.frame(&message, [(&block, &ids[..])].into_iter(), |_| true);
        let wanted = Framed::wanted(named(&payload).digest());
        let Some(Framed::Wanted(digest)) = Framed::decode(&wanted) else { panic!("not wanted") };
        assert_eq!(sender.give(&Hash::new([9; 32]), PEER), None);
        let given = sender.give(&digest, PEER).unwrap();
        assert_eq!(Framed::decode(&given), Some(Framed::Whole(message.clone())));
        assert_eq!(sender.give(&digest, PEER), None);
        assert!(sender.give(&digest, PeerId::new([8; 32])).is_some());
        for _ in 0..WHOLE_AFTER_WANTED {
            let payload = sender.frame(&message, [(&block, &ids[..])].into_iter(), |_| true);
            assert!(matches!(Framed::decode(&payload), Some(Framed::Whole(_))));
        }
        assert_eq!(sender.frame(&message, [(&block, &ids[..])].into_iter(), |_| true), payload);
    }

    /// An application whose ids do not cover all bytes: another one with the same id is in the pool.
    #[test]
    fn other_bytes_with_the_same_id_are_noticed() {
        let (transactions, message, block, ids) = message(60);
        let payload = Names::default().frame(&message, [(&block, &ids[..])].into_iter(), |_| true);
        let mut pool = pool(&transactions);
        let mut other = transactions[5].to_vec();
        other[0] ^= 1;
        pool.insert(ids[5], other.into());
        assert_eq!(read(&mut Names::default(), &named(&payload), |id| pool.get(id).cloned()), None);
    }

    #[test]
    fn a_message_without_the_block_or_a_short_one_goes_whole() {
        let (transactions, message, block, ids) = message(60);
        let mut broken = message.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        broken[400] ^= 1;
        for (message, block, ids) in [
            (Bytes::from(broken), &block, &ids[..]),
            (message.slice(..message.len() - 20), &block, &ids[..]),
            (message.clone(), &block, &ids[1..]),
            (message.slice(..NAMED_BYTES_MIN - 1), &block, &ids[..]),
            (message.clone(), &self::block(&transactions[1..]), &ids[1..]),
        ] {
            let payload = Names::default().frame(&message, [(block, ids)].into_iter(), |_| true);
            assert_eq!(Framed::decode(&payload), Some(Framed::Whole(message)));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_nobody_displaces_anothers() {
        let kept = |fill: u8, len: usize| Kept {
            digest: Hash::new([fill; 32]),
            message: Bytes::from(vec![fill; len]),
            framed: Bytes::new(),
        };
        let mut names = Names::default();
        (0..20).for_each(|fill| names.keep_sent(kept(fill, 100)));
        assert_eq!(names.sent.len(), SENT_MAX);
        (0..4).for_each(|fill| names.keep_sent(kept(fill, KEPT_BYTES_MAX)));
        assert_eq!(names.sent.len(), 1);

        let (_, message, block, ids) = message(60);
        let payload = Names::default().frame(&message, [(&block, &ids[..])].into_iter(), |_| true);
        let mut names = Names::default();
        names.keep(PEER, &named(&payload), message.clone());
        let other = PeerId::new([8; 32]);
        for fill in 0..9 {
            let digest = Hash::new([fill; 32]);
            names.keep(other, &Named { digest, ..named(&payload) }, Bytes::from_static(b"x"));
        }
        assert_eq!(names.met.len(), 2);
        assert_eq!(names.known(&named(&payload)), Some(message));
        names.keep(other, &Named { digest: Hash::new([1; 32]), ..named(&payload) }, vec![0; KEPT_BYTES_MAX].into());
        assert_eq!(names.known(&Named { digest: Hash::new([1; 32]), ..named(&payload) }), None);
        names.forget(&PEER);
        assert_eq!(names.known(&named(&payload)), None);
    }

    /// A few names of long transactions are short, and what is made of them is not.
    #[test]
    fn no_more_is_put_together_for_a_peer_than_it_is_allowed() {
        let mut names = Names::default();
        assert!(names.allows(PEER, Instant(1), MADE_BYTES_MAX));
        assert!(!names.allows(PEER, Instant(1), 1));
        assert!(names.allows(PeerId::new([8; 32]), Instant(1), 1));
        assert!(names.allows(PEER, Instant(1_000_001), MADE_BYTES_PER_S));
        assert!(!names.allows(PEER, Instant(1_000_001), 1));
        let (transactions, message, block, ids) = message(60);
        let payload = Names::default().frame(&message, [(&block, &ids[..])].into_iter(), |_| true);
        let pool = pool(&transactions);
        let made = named(&payload).whole(|id| pool.get(id).cloned(), |_| false);
        assert_eq!(made, Err(Unmade::TooMuch));
    }

    #[test]
    fn an_id_twice_and_no_id_at_all_are_no_message() {
        let (_, message, block, ids) = message(60);
        let twice: Vec<TransactionId> = std::iter::once(ids[1]).chain(ids[1..].iter().copied()).collect();
        let payload = Names::default().frame(&message, [(&block, &twice[..])].into_iter(), |_| true);
        assert_eq!(Framed::decode(&payload), None);
        let mut none = vec![NAMED];
        none.extend([0; 40]);
        assert_eq!(Framed::decode(&none.into()), None);
    }

    #[test]
    fn cut_flipped_and_random_payloads_are_refused_or_read_and_never_panic() {
        let (transactions, message, block, ids) = message(60);
        let pool = pool(&transactions);
        let good = Names::default().frame(&message, [(&block, &ids[..])].into_iter(), |one| *one != ids[3]);
        let try_read = |payload: Bytes| match Framed::decode(&payload) {
            Some(Framed::Named(named)) => read(&mut Names::default(), &named, |id| pool.get(id).cloned()),
            _ => None,
        };
        for len in 0..good.len() {
            assert_ne!(try_read(good.slice(..len)), Some(message.clone()), "length {len}");
        }
        for bit in 8..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(try_read(bad.into()), None, "bit {bit}");
        }
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..state % 90)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 57) as u8 % 3
                })
                .collect();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            try_read(bytes.into());
        }
        // As many items as may be, of which none is there.
        let mut many = vec![NAMED];
        many.extend([0; 36]);
        many.extend(u32::MAX.to_le_bytes());
        assert_eq!(Framed::decode(&many.into()), None);
    }
}
