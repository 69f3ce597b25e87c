//! The loop's part in catch-up: asks peers for blocks in turn, and takes what came in order, several small blocks by one commit.

use std::sync::Arc;

use borsh::BorshDeserialize;
use bytes::Bytes;
use quorate::{
    Block, Hash, Header, Height, PeerId, TransactionId,
    block::HEADER_BYTES,
    consensus::CommitBy,
    storage::{Batch, StorageError},
    transport::{Class, TransportCommand},
};

use super::{BAN_MS, Core, Fault};
use crate::{
    ahead::{Answer, Given},
    layout,
    ledger::BadBlock,
    sync::Progress,
    together::Together,
    wire::{BLOCK_BYTES_WANTED, Message},
};

/// Why no more blocks are taken for now.
enum Ended {
    /// They are as many as one commit should have, or all.
    Enough,
    /// A peer gave what is not the next final block.
    NotFinal(PeerId, String),
    /// A final block is not what this node computes.
    Conflict(Block, Bytes, String),
}

/// The height in a block's header.
fn height_of(encoded: &Bytes) -> Option<Height> {
    Header::try_from_slice(encoded.get(..HEADER_BYTES)?).ok().map(|header| header.height)
}

impl Core {
    /// A validator whose final block differs from ours is asked for it: one of the two proofs is false, or all trust is lost.
    pub(super) async fn look_for_fork(
        &mut self,
        peer: PeerId,
        height: Height,
        hash: &Hash,
    ) -> Result<(), StorageError> {
        if height > self.view.tip.height || height == Height::GENESIS {
            return Ok(());
        }
        if self.view.validators.index_of(&peer.into()).is_none() {
            return Ok(());
        }
        // The rows of hashes stay when blocks are removed.
        let tip = self.view.tip;
        let same =
            if height == tip.height { *hash == tip.hash } else { self.view.chain().height_of(hash)? == Some(height) };
        if !same && self.sync.fork_check(self.shared.clock.now(), &peer) {
            tracing::warn!(%peer, %height, theirs = %hash, "a validator says that another block is final; asking for its proof");
            let bytes = Message::BlockRequest { from: height, bytes_max: 1 }.encode();
            self.send(TransportCommand::Send { to: peer, class: Class::Sync, bytes }).await;
        }
        Ok(())
    }

    pub(super) async fn blocks_came(
        &mut self,
        peer: PeerId,
        height: Height,
        blocks: Vec<(Bytes, Bytes)>,
    ) -> Result<(), StorageError> {
        self.sync.heard(peer, height);
        for (encoded, proof) in &blocks {
            // Most are above the tip, and are read elsewhere.
            if height_of(encoded).is_some_and(|height| height <= self.view.tip.height)
                && let Err(why) = self.compare_with_ours(peer, encoded, proof)?
            {
                // Nobody who has this chain has such a block, and each costs a look at its proof. What is at hand does not rest on it.
                self.sync.failed(self.shared.clock.now(), peer);
                self.turn_away(peer, why).await;
                return Ok(());
            }
        }
        let first = blocks.first().and_then(|(encoded, _)| height_of(encoded));
        let asked = self.sync.asked_for(&peer);
        if first.is_some_and(|first| first <= self.view.tip.height && Some(first) != asked) {
            // Asked for because it differs from ours, if at all: not a part of catch-up.
            return Ok(());
        }
        if first.zip(asked).is_some_and(|(first, asked)| first < asked) {
            // Given twice: a peer whose engine hears where this node is sends blocks by itself, beside those that it was asked for.
            return Ok(());
        }
        let Some(from) = self.sync.answered(&peer) else { return Ok(()) };
        if blocks.is_empty() || first.is_some_and(|first| first != from) {
            tracing::debug!(%peer, %from, "peer did not give the blocks that it was asked for");
            self.sync.failed(self.shared.clock.now(), peer);
            return Ok(());
        }
        self.at_hand.add(Answer { peer, from, blocks });
        Ok(())
    }

    /// Two proofs for one height: voting stops and both are kept. An error says what is wrong with the block.
    fn compare_with_ours(
        &mut self,
        peer: PeerId,
        encoded: &Bytes,
        proof: &Bytes,
    ) -> Result<Result<(), String>, StorageError> {
        let block = match Block::decode(encoded.clone()) {
            Ok(block) => block,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let height = block.height();
        if height > self.view.tip.height || height == Height::GENESIS {
            return Ok(Ok(()));
        }
        let chain = self.view.chain();
        if chain.height_of(&block.hash())? == Some(height) {
            return Ok(Ok(()));
        }
        let validators = chain.validators(height)?;
        let ledger = &self.shared.ledger;
        if let Err(error) = ledger.finality.verify(&ledger.genesis.chain_id(), block.header(), proof, &validators) {
            return Ok(Err(format!("block {height} {} is not ours: {error}", block.hash())));
        }
        let mut batch = Batch::new();
        batch.put(layout::CONFLICT, layout::StoredBlock::encode(&block, proof, &[]));
        ledger.storage.commit(batch)?;
        let ours = match chain.block(height)? {
            Some(ours) => ours.block.hash().to_string(),
            None => "one which was removed here, with its proof,".into(),
        };
        self.halt(format!(
            "two final blocks at height {height}: {ours} and, from {peer}, {}; both proofs are kept",
            block.hash()
        ));
        Ok(Ok(()))
    }

    /// Takes blocks at hand, in order: as many as one commit should have, so that consensus messages do not wait for all of them.
    pub(super) async fn take_blocks(&mut self) -> Result<(), Fault> {
        let Some(first) = self.at_hand.next() else { return Ok(()) };
        self.settle().await?;
        if self.halted {
            self.give_up();
            return Ok(());
        }
        let mut together = Together::on(Arc::clone(&self.view), self.shared.clock.now());
        let ended = self.judge(first, &mut together)?;
        // What was found final stays so, whatever came after it.
        if let Some((blocks, batch)) = together.into_batch() {
            self.shared.metrics.blocks_by_sync.inc_by(blocks.len() as u64);
            self.make_final(&blocks, batch, CommitBy::Sync).await?;
        }
        match ended {
            Ended::Enough => {}
            Ended::NotFinal(peer, why) => self.blame(peer, why).await,
            Ended::Conflict(block, proof, what) => {
                let mut batch = Batch::new();
                batch.put(layout::CONFLICT, layout::StoredBlock::encode(&block, &proof, &[]));
                self.shared.ledger.storage.commit(batch)?;
                self.halt(what);
            }
        }
        Ok(())
    }

    /// Judges and executes the blocks at hand from `given` on.
    fn judge(&mut self, mut given: Given, together: &mut Together) -> Result<Ended, StorageError> {
        let shared = Arc::clone(&self.shared);
        let knowing = |tip: Height, ids: &[TransactionId], bytes: &[Bytes]| shared.known(tip, ids, bytes);
        loop {
            let Given { peer, block, .. } = given;
            let (block, proof, known) = match block {
                Ok(block) => block,
                Err(why) => return Ok(Ended::NotFinal(peer, why)),
            };
            // The consensus may have been there first.
            if block.height() > together.height() {
                let view = together.view()?;
                match shared.ledger.judge_final(&view, &block, &proof, known, &knowing) {
                    Ok(candidate) => together.add(&shared.ledger, &view, candidate, &proof),
                    Err(BadBlock::NotFinal(why)) => return Ok(Ended::NotFinal(peer, why)),
                    Err(BadBlock::Storage(error)) => return Err(error),
                    Err(conflict) => return Ok(Ended::Conflict(block, proof, conflict.to_string())),
                }
            }
            // The engine starts as soon as the chain is where this key signed.
            let wakes = self.asleep_until.is_some_and(|signed| together.height().next() >= signed);
            if wakes || together.is_enough(shared.clock.now()) {
                return Ok(Ended::Enough);
            }
            match self.at_hand.next() {
                Some(next) => given = next,
                None => return Ok(Ended::Enough),
            }
        }
    }

    /// Gives up all at hand: blocks rest on those before them.
    fn give_up(&mut self) {
        self.at_hand.clear();
        self.sync.gave_up();
    }

    async fn blame(&mut self, peer: PeerId, why: String) {
        self.sync.failed(self.shared.clock.now(), peer);
        self.give_up();
        self.turn_away(peer, why).await;
    }

    async fn turn_away(&mut self, peer: PeerId, why: String) {
        tracing::warn!(%peer, why, "peer gave a block that is not final");
        let reason = format!("gave a block that is not final: {why}");
        self.send(TransportCommand::Disconnect { peer, reason, ban_ms: BAN_MS }).await;
    }

    /// How far catch-up is.
    pub(super) fn progress(&self) -> Progress {
        let tip = self.view.tip.height;
        Progress { tip, last: self.at_hand.last(tip), full: self.at_hand.is_full() }
    }

    pub(super) async fn ask_for_blocks(&mut self) {
        if self.halted {
            return;
        }
        let now = self.shared.clock.now();
        if let Some(ask) = self.sync.poll(now, self.progress()) {
            let bytes = Message::BlockRequest { from: ask.from, bytes_max: BLOCK_BYTES_WANTED }.encode();
            self.send(TransportCommand::Send { to: ask.peer, class: Class::Sync, bytes }).await;
        }
    }
}
