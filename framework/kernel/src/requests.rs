//! Answers requests of transports and services from what is durable, beside the consensus loop.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use quorate::{
    Height, TransactionId,
    application::QueryError,
    node::{BlockId, Node, POOL_LIST_MAX, Reply, Request, Response, TransactionState},
    storage::StorageError,
};
use tokio::sync::mpsc;

use crate::{
    backup::Backup,
    core::Control,
    execute::StateView,
    hot::{Hot, HotBlock, Made},
    intake::{self, Origin, Submission},
    layout::StoredBlock,
    ledger::View,
    shared::Shared,
    wire::BLOCKS_PER_MESSAGE,
};

/// Bytes of blocks in one answer at most.
const RANGE_BYTES_MAX: u32 = 8 << 20;

/// The node, seen from outside; it answers `Unavailable` before the chain is open and after it is closed.
#[derive(Default)]
pub(crate) struct Front {
    back: RwLock<Option<Arc<Back>>>,
}

pub(crate) struct Back {
    pub(crate) shared: Arc<Shared>,
    pub(crate) intake: mpsc::Sender<Submission>,
    pub(crate) controls: mpsc::Sender<Control>,
    pub(crate) backup: Backup,
    pub(crate) hot: Hot,
}

impl Front {
    pub(crate) fn open(&self, back: Back) {
        *self.back.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(back));
    }

    /// Lets go of the chain. Clients may keep their handles for as long as they like.
    pub(crate) fn close(&self) {
        drop(self.back.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Node for Front {
    fn call(&self, request: Request, reply: Reply) {
        // A reply may call again: the lock is not held meanwhile.
        let back = self.back.read().unwrap_or_else(PoisonError::into_inner).clone();
        match back {
            Some(back) => back.call(request, reply),
            None => reply(Response::Unavailable("this node has no open chain".into())),
        }
    }
}

impl Back {
    fn call(&self, request: Request, reply: Reply) {
        match request {
            Request::Submit(bytes) => self.hand_in(Submission { bytes, origin: Origin::Client(reply) }),
            Request::Check(bytes) => self.hand_in(Submission { bytes, origin: Origin::Asker(reply) }),
            Request::Backup { directory } => self.backup.start(Arc::clone(&self.shared), directory, reply),
            other => reply(self.answer(other).unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "a request could not be answered");
                Response::Unavailable(error.to_string())
            })),
        }
    }

    fn hand_in(&self, submission: Submission) {
        intake::hand_in(&self.shared, &self.intake, submission);
    }

    fn answer(&self, request: Request) -> Result<Response, StorageError> {
        let shared = &self.shared;
        let view = shared.view();
        Ok(match request {
            Request::Status => Response::Status(Box::new(shared.status())),
            Request::Validators(height) => {
                let height = height.unwrap_or(view.tip.height.next());
                if height == Height::GENESIS || height > view.tip.height.next() {
                    return Ok(Response::Unavailable(format!("no validators are known for height {height}")));
                }
                Response::Validators { height, validators: view.chain().validators(height)? }
            }
            Request::Block(id) => self.block(&view, id)?,
            Request::Transaction(id) => Response::Transaction(self.transaction(&id)?),
            Request::Pool => Response::Pool(shared.pool().status(POOL_LIST_MAX)),
            Request::Evidence => Response::Evidence(shared.evidence()),
            Request::Query { path, params } => Response::Query(self.query(&view, &path, &params)),
            Request::Metrics => {
                shared.metrics.peers.set(i64::try_from(shared.peers().connected()).unwrap_or(i64::MAX));
                Response::Text(shared.metrics.render())
            }
            Request::Genesis => Response::Text(shared.ledger.genesis.text().into()),
            Request::BlockRange { from, bytes_max } => match view.pruned(from.max(Height(1))) {
                Some(pruned) => Response::Pruned(pruned),
                None => Response::Blocks(range(&view, from, bytes_max)?),
            },
            _ => Response::Unavailable("unknown request".into()),
        })
    }

    fn query(&self, view: &View, path: &str, params: &[u8]) -> Result<Bytes, QueryError> {
        let state = StateView(view.snapshot.as_ref());
        let answer = self.shared.ledger.application.query(&state, path, params).map(Bytes::from);
        if let Err(QueryError::State(why)) = &answer
            && self.controls.try_send(Control::Failed(why.clone())).is_err()
        {
            tracing::error!(why, "the application failed, and the loop could not be told");
        }
        answer
    }

    fn block(&self, view: &View, id: BlockId) -> Result<Response, StorageError> {
        let chain = view.chain();
        let height = match id {
            BlockId::Latest => Some(view.tip.height),
            BlockId::Height(height) => Some(height),
            BlockId::Hash(hash) => chain.height_of(&hash)?,
        };
        let Some(height) = height else { return Ok(Response::Block(None)) };
        if let Some(pruned) = view.pruned(height) {
            return Ok(Response::Pruned(pruned));
        }
        let application = &self.shared.ledger.application;
        let found = self.hot_block(view, height)?;
        Ok(Response::Block(found.map(|hot| hot.told(|transaction| application.transaction_id(transaction)))))
    }

    /// The final block of `height`, from the store when it was not asked for lately.
    fn hot_block(&self, view: &View, height: Height) -> Result<Option<Arc<HotBlock>>, StorageError> {
        if let Some(hot) = self.hot.get(height) {
            return Ok(Some(hot));
        }
        let chain = view.chain();
        let Some(StoredBlock { block, proof, receipts }) = chain.block(height)? else { return Ok(None) };
        let validators = chain.validators(height)?;
        let creator = validators.get(block.header().creator).map(|one| (one.name.clone(), one.public_key));
        let creator = creator.ok_or_else(|| StorageError::Damaged(format!("block {height} has no creator")))?;
        let certificate = self.shared.ledger.finality.certificate(&proof).unwrap_or_default();
        let made = Made::default();
        let hot = Arc::new(HotBlock { block, proof, certificate, creator, validators, receipts, made });
        self.hot.keep(Arc::clone(&hot));
        Ok(Some(hot))
    }

    fn transaction(&self, id: &TransactionId) -> Result<TransactionState, StorageError> {
        // The pool first: what leaves it does so after it is final, and a view from before may not have it.
        let pending = self.shared.pool().get(id).cloned();
        let view = self.shared.view();
        let chain = view.chain();
        let Some((height, index)) = chain.transaction(id)? else {
            return Ok(pending.map_or(TransactionState::Unknown, TransactionState::Pending));
        };
        if let Some(pruned) = view.pruned(height) {
            return Ok(TransactionState::Pruned(pruned));
        }
        let damaged = || StorageError::Damaged(format!("transaction {id} is not in block {height}"));
        let hot = self.hot_block(&view, height)?.ok_or_else(damaged)?;
        Ok(TransactionState::Final(Box::new(hot.receipt(*id, index as usize).ok_or_else(damaged)?)))
    }
}

/// Final blocks with proofs from `from` on: at least one if it is there, then as many as fit.
pub(crate) fn range(view: &View, from: Height, bytes_max: u32) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let mut blocks = Vec::new();
    let mut room = bytes_max.min(RANGE_BYTES_MAX) as usize;
    let mut height = from.max(Height(1));
    while height <= view.tip.height && blocks.len() < BLOCKS_PER_MESSAGE {
        let Some(stored) = view.chain().block(height)? else { break };
        let size = stored.block.encoded().len() + stored.proof.len() + 8;
        if size > room && !blocks.is_empty() {
            break;
        }
        room = room.saturating_sub(size);
        blocks.push((stored.block.encoded().clone(), stored.proof));
        height = height.next();
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use quorate::{
        Application as _, Instant, Settings, Storage,
        application::Admission,
        plugin::{Descriptor, SetupError, StoragePlugin},
    };

    use super::*;
    use crate::sample::{self, Judge, Rows, Store};

    struct NoPlugin;

    impl StoragePlugin for NoPlugin {
        fn descriptor(&self) -> Descriptor {
            Descriptor::new("none", "1.0.0", "opens nothing")
        }

        fn check(&self, _: &Settings) -> Result<(), SetupError> {
            Ok(())
        }

        fn open(&self, _: &Settings, _: &Path) -> Result<Arc<dyn Storage>, SetupError> {
            Ok(Arc::new(Store::default()))
        }
    }

    /// A block becomes final while somebody asks: the transaction was pending before and is final after, and never unknown.
    #[test]
    fn a_transaction_is_not_unknown_between_pending_and_final() {
        let shared = Arc::new(sample::shared(Arc::new(Judge)));
        let back = Back {
            shared: Arc::clone(&shared),
            intake: mpsc::channel(1).0,
            controls: mpsc::channel(1).0,
            backup: Backup { plugin: Arc::new(NoPlugin), settings: Settings::from_text(""), running: Arc::default() },
            hot: Hot::default(),
        };
        let id = Judge.transaction_id(b"yes");
        let mut pool = shared.pool();
        pool.insert(Instant(1), Height(3), (id, Bytes::from_static(b"yes")), Admission::default()).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| back.answer(Request::Transaction(id)).unwrap());
            // It waits for the pool, as the loop has it.
            std::thread::sleep(Duration::from_millis(100));
            shared.set_view(sample::view(4, Rows::default().with_removed(&id, 4)));
            pool.committed(&[id]);
            drop(pool);
            match asked.join().unwrap() {
                Response::Transaction(TransactionState::Pruned(pruned)) => assert_eq!(pruned.height, Height(4)),
                other => panic!("{other:?}"),
            }
        });
    }
}
