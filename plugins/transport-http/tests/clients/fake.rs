//! A node that makes blocks when told to, and a server of clients in front of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use quorate::{
    Block, Bytes, Genesis, Hash, Header, Height, PublicKey, Receipt, Round, Settings, Signature, Timestamp,
    TransactionId, ValidatorIndex,
    application::{Misbehaviour, QueryError, Rejection},
    block::BLOCK_VERSION,
    consensus::Certificate,
    merkle,
    node::{
        BlockId, EvidenceRecord, FinalBlock, Head, Health, Node, NodeHandle, NodeStatus, PeerStatus, PoolStatus,
        Pruned, Reply, Request, Response, SubmitError, TransactionState,
    },
    transport::{Identity, IdentityError, IdentityUse, TransportCommand, TransportContext},
};
use quorate_transport_http::{client::Clients, settings::HttpSettings};
use tokio::{sync::mpsc, task::JoinHandle};

pub(crate) const GENESIS: &str = r#"
chain_name = "test"
genesis_time = 2026-01-01T00:00:00Z
[consensus]
plugin = "poa"
[application]
plugin = "kv"
[[validator]]
name = "validator-1"
public_key = "0x0101010101010101010101010101010101010101010101010101010101010101"
[[validator]]
name = "validator-2"
public_key = "0x0202020202020202020202020202020202020202020202020202020202020202"
"#;

pub(crate) const TOKEN: &str = "the-operators-token";

pub(crate) fn genesis() -> Genesis {
    Genesis::parse("genesis", GENESIS).unwrap()
}

#[derive(Default)]
struct Chain {
    blocks: Vec<FinalBlock>,
    pool: Vec<Bytes>,
}

/// Transactions which begin with one of these words get the answer that the word says; those which begin with `hold` stay pending.
pub(crate) struct FakeNode {
    chain: Mutex<Chain>,
    pub(crate) health: Mutex<Health>,
    /// Never answers while set.
    pub(crate) mute: AtomicBool,
    /// Submissions are answered, the last first, when so many wait for an answer; at once while it is 0.
    pub(crate) together: AtomicUsize,
    waiting: Mutex<Vec<(Bytes, Reply)>>,
    /// The blocks below were removed.
    pub(crate) blocks_from: AtomicU64,
}

pub(crate) fn id_of(bytes: &[u8]) -> TransactionId {
    TransactionId::new(*Hash::of(&[bytes]).as_bytes())
}

impl FakeNode {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            chain: Mutex::default(),
            health: Mutex::default(),
            mute: AtomicBool::new(false),
            together: AtomicUsize::new(0),
            waiting: Mutex::default(),
            blocks_from: AtomicU64::new(1),
        })
    }

    /// What waits for a block, in order.
    pub(crate) fn pool(&self) -> Vec<Bytes> {
        self.chain.lock().unwrap().pool.clone()
    }

    /// The last block has another proof from now on, of a later round.
    pub(crate) fn prove_again(&self, proof: &'static [u8]) {
        let mut chain = self.chain.lock().unwrap();
        let last = chain.blocks.last_mut().unwrap();
        last.proof = Bytes::from_static(proof);
        last.certificate.round = last.certificate.round.next();
    }

    /// Makes the next block of what waits.
    pub(crate) fn seal(&self) -> Arc<Head> {
        let mut chain = self.chain.lock().unwrap();
        let (held, transactions): (Vec<_>, Vec<_>) =
            std::mem::take(&mut chain.pool).into_iter().partition(|bytes| bytes.starts_with(b"hold"));
        chain.pool = held;
        let genesis = genesis();
        let height = chain.blocks.len() as u64 + 1;
        let parent = chain.blocks.last().map_or(Hash::new(*genesis.chain_id().as_bytes()), |last| last.block.hash());
        let outcomes: Vec<_> = transactions.iter().map(|_| merkle::leaf(b"done")).collect();
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: genesis.chain_id(),
            height: Height(height),
            parent_hash: parent,
            time: Timestamp(genesis.time().0 + height * 5_250),
            creator: ValidatorIndex((height % 2) as u16),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::of(&[&height.to_be_bytes()]),
            receipts_root: merkle::root(&outcomes),
            validators_hash: genesis.validators().hash(),
            next_validators_hash: genesis.validators().hash(),
        };
        let creator = genesis.validators().get(header.creator).unwrap().clone();
        let block = Block::new(header, &transactions, &[]).unwrap();
        let transaction_ids: Vec<_> = transactions.iter().map(|bytes| id_of(bytes)).collect();
        let head = Head {
            header: block.header().clone(),
            hash: block.hash(),
            transaction_ids: transaction_ids.clone().into(),
        };
        chain.blocks.push(FinalBlock {
            block,
            proof: Bytes::from_static(b"proof"),
            certificate: Certificate {
                round: Round(1),
                signatures: vec![
                    (ValidatorIndex(0), Signature::new([8; 64])),
                    (ValidatorIndex(1), Signature::new([9; 64])),
                ],
            },
            transaction_ids,
            creator: creator.name,
            creator_key: creator.public_key,
        });
        Arc::new(head)
    }

    fn status(&self, chain: &Chain) -> NodeStatus {
        let genesis = genesis();
        let health = *self.health.lock().unwrap();
        let last = chain.blocks.last();
        NodeStatus {
            name: "validator-1".into(),
            role: "validator".into(),
            version: "1.2.3".into(),
            chain_id: Some(genesis.chain_id()),
            chain_name: "test".into(),
            status: health,
            detail: (health == Health::Stalled).then(|| "1 of 2 needed; silent: validator-2".into()),
            height: Height(chain.blocks.len() as u64),
            hash: last.map(|last| last.block.hash()),
            blocks_from: Height(self.blocks_from.load(Ordering::Relaxed)),
            best_known_height: Height(chain.blocks.len() as u64 + 10),
            peers: [true, false]
                .map(|connected| PeerStatus {
                    peer: quorate::PeerId::new([2; 32]),
                    name: "validator-2".into(),
                    connected,
                    validator: true,
                    address: "127.0.0.1:1".into(),
                    height: Height(0),
                })
                .into(),
            ..NodeStatus::default()
        }
    }

    fn submit(chain: &mut Chain, bytes: Bytes) -> Result<TransactionId, SubmitError> {
        let id = id_of(&bytes);
        match bytes.get(..4) {
            Some(b"dupl") => {
                let winner = TransactionId::new([7; 32]);
                return Err(SubmitError::Rejected(Rejection::Duplicate { winner }));
            }
            Some(b"reje") => return Err(SubmitError::Rejected(Rejection::NotAllowed("the election is closed".into()))),
            Some(b"full") => return Err(SubmitError::PoolFull { count: 5, bytes: 50, retry_after_ms: 250 }),
            Some(b"larg") => return Err(SubmitError::TooLarge { len: 9, limit: 8 }),
            Some(b"none") => return Err(SubmitError::Unavailable("a bootnode takes none".into())),
            _ => {}
        }
        let known = chain.pool.contains(&bytes) || chain.blocks.iter().any(|one| one.transaction_ids.contains(&id));
        if !known {
            chain.pool.push(bytes);
        }
        Ok(id)
    }

    fn pruned(&self, height: Height) -> Option<Pruned> {
        let blocks_from = Height(self.blocks_from.load(Ordering::Relaxed));
        (height < blocks_from).then_some(Pruned { height, blocks_from })
    }

    fn transaction(&self, chain: &Chain, id: &TransactionId) -> TransactionState {
        for one in &chain.blocks {
            let Some(index) = one.transaction_ids.iter().position(|known| known == id) else { continue };
            if let Some(pruned) = self.pruned(one.block.height()) {
                return TransactionState::Pruned(pruned);
            }
            let outcomes: Vec<_> = one.transaction_ids.iter().map(|_| merkle::leaf(b"done")).collect();
            return TransactionState::Final(Box::new(Receipt {
                transaction_id: *id,
                transaction: one.block.transactions()[index].clone(),
                transaction_path: merkle::path(&one.block.transaction_leaves(), index).unwrap(),
                outcome: Bytes::from_static(b"done"),
                outcome_path: merkle::path(&outcomes, index).unwrap(),
                header: one.block.header().clone(),
                block_hash: one.block.hash(),
                validators: genesis().validators().clone(),
                proof: one.proof.clone(),
            }));
        }
        match chain.pool.iter().find(|bytes| id_of(bytes) == *id) {
            Some(bytes) => TransactionState::Pending(bytes.clone()),
            None => TransactionState::Unknown,
        }
    }

    fn query(path: &str, params: &Bytes) -> Result<Bytes, QueryError> {
        match path {
            "echo" => Ok(params.clone()),
            "broken" => Ok(Bytes::from_static(b"}{")),
            "bad" => Err(QueryError::BadParams("`key` is missing".into())),
            _ => Err(QueryError::UnknownPath { path: path.into(), known: "echo, broken, bad".into() }),
        }
    }
}

impl Node for FakeNode {
    fn call(&self, request: Request, reply: Reply) {
        if self.mute.load(Ordering::Relaxed) {
            std::mem::forget(reply);
            return;
        }
        let together = self.together.load(Ordering::Relaxed);
        if let Request::Submit(bytes) = &request
            && together > 0
        {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.push((bytes.clone(), reply));
            if waiting.len() == together {
                let mut chain = self.chain.lock().unwrap();
                let results: Vec<_> =
                    waiting.drain(..).map(|(bytes, reply)| (Self::submit(&mut chain, bytes), reply)).collect();
                results.into_iter().rev().for_each(|(result, reply)| reply(Response::Submitted(result)));
            }
            return;
        }
        let mut chain = self.chain.lock().unwrap();
        let response = match request {
            Request::Status => Response::Status(Box::new(self.status(&chain))),
            Request::Validators(height) => Response::Validators {
                height: height.unwrap_or(Height(chain.blocks.len() as u64 + 1)),
                validators: genesis().validators().clone(),
            },
            Request::Block(id) => {
                let found = match id {
                    BlockId::Latest => chain.blocks.last(),
                    BlockId::Height(height) => chain.blocks.iter().find(|one| one.block.height() == height),
                    BlockId::Hash(hash) => chain.blocks.iter().find(|one| one.block.hash() == hash),
                };
                match found.and_then(|found| self.pruned(found.block.height())) {
                    Some(pruned) => Response::Pruned(pruned),
                    None => Response::Block(found.cloned().map(Arc::new)),
                }
            }
            Request::Submit(bytes) => Response::Submitted(Self::submit(&mut chain, bytes)),
            Request::Transaction(id) => Response::Transaction(self.transaction(&chain, &id)),
            Request::Pool => {
                Response::Pool(PoolStatus { count: chain.pool.len() as u64, count_max: 10, ..PoolStatus::default() })
            }
            Request::Evidence => Response::Evidence(vec![EvidenceRecord {
                misbehaviour: Misbehaviour {
                    height: Height(3),
                    offender: PublicKey::new([2; 32]),
                    offence: "two proposals in round 3".into(),
                },
                name: "validator-2".into(),
                included_at: None,
                proof: vec![1, 2],
            }]),
            Request::Query { path, params } => Response::Query(Self::query(&path, &params)),
            Request::Metrics => Response::Text("# TYPE fake gauge\nfake 1\n# EOF\n".into()),
            Request::Genesis => Response::Text(GENESIS.into()),
            Request::BlockRange { from, .. } if self.pruned(from).is_some() => {
                self.pruned(from).map_or_else(|| Response::Blocks(Vec::new()), Response::Pruned)
            }
            Request::BlockRange { from, .. } => Response::Blocks(
                chain
                    .blocks
                    .iter()
                    .filter(|one| one.block.height() >= from)
                    .take(2)
                    .map(|one| (one.block.encoded().clone(), one.proof.clone()))
                    .collect(),
            ),
            Request::Backup { directory } if directory == "/exists" => {
                Response::Unavailable("/exists is there already".into())
            }
            Request::Backup { .. } => Response::BackedUp(Height(chain.blocks.len() as u64)),
            _ => Response::Unavailable("unknown".into()),
        };
        drop(chain);
        reply(response);
    }
}

struct NoKey;

impl Identity for NoKey {
    fn public_key(&self) -> PublicKey {
        PublicKey::new([1; 32])
    }

    fn sign(&self, _: IdentityUse, _: &[u8]) -> Result<Signature, IdentityError> {
        Err(IdentityError("tests do not sign".into()))
    }
}

pub(crate) fn context(node: &Arc<FakeNode>) -> TransportContext {
    TransportContext {
        chain_id: genesis().chain_id(),
        chain_name: "test".into(),
        name: "validator-1".into(),
        role: "validator".into(),
        version: "1.2.3".into(),
        identity: Arc::new(NoKey),
        node: NodeHandle::new(Arc::clone(node) as Arc<dyn Node>),
        loopback_only: true,
        admin_token: Some(TOKEN.into()),
    }
}

/// A running server of clients.
pub(crate) struct Server {
    pub(crate) node: Arc<FakeNode>,
    pub(crate) address: SocketAddr,
    commands: mpsc::Sender<TransportCommand>,
    running: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With further settings.
    pub(crate) async fn with(settings: &str) -> Self {
        let text = format!("rpc_listen = \"127.0.0.1:0\"\npeer_listen = \"127.0.0.1:0\"\n{settings}");
        let settings = HttpSettings::read(&Settings::from_text(&text)).unwrap();
        let node = FakeNode::new();
        let clients = Clients::bind(&settings.client, &context(&node)).unwrap();
        let address = clients.address();
        let (commands, inbox) = mpsc::channel(64);
        let running = tokio::spawn(async move { clients.run(inbox).await.unwrap() });
        Self { node, address, commands, running }
    }

    /// Makes a block and tells subscribers.
    pub(crate) async fn seal(&self) -> Arc<Head> {
        let head = self.node.seal();
        self.commands.send(TransportCommand::Committed(Arc::clone(&head))).await.unwrap();
        head
    }

    pub(crate) async fn stop(self) {
        self.commands.send(TransportCommand::Stop).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(2), self.running).await.expect("stops in time").unwrap();
    }
}
