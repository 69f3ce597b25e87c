//! Peers that a test plays: they say that they have a chain, and answer requests for blocks each in a manner of its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quorate::{
    Bytes, ChainId, Hash, Height, PeerId, Settings,
    node::{Node, NodeHandle, Reply, Request, Response},
    plugin::TransportPlugin,
    transport::{Class, Io, TransportCommand, TransportContext, TransportEvent},
};
use quorate_kernel::key::NodeKey;
use quorate_testkit::memory::{Hub, MemoryTransportPlugin};
use tokio::sync::mpsc;

/// Blocks in an answer of these peers at most.
pub(crate) const AT_ONCE: usize = 4;

/// Who asks them.
pub(crate) const LATE: &str = "validator-3";

/// Blocks with their proofs, from height 1 on.
pub(crate) type Chain = Arc<Vec<(Bytes, Bytes)>>;

/// How a peer answers.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// With what it was asked for.
    Good,
    /// With what it was asked for, twice.
    Twice,
    /// Not at all.
    Silent,
    /// With bytes that are no block.
    Rubbish,
    /// With blocks whose proofs are not good.
    FalseProofs,
    /// With the blocks after those which it was asked for.
    Ahead,
    /// With blocks of this chain.
    Other(Chain),
    /// With blocks of which the second half is of this chain.
    Splice(Chain),
    /// Once, and is gone.
    Leaves,
}

/// What the peers of a test were asked and told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Who was asked for blocks, from where on.
    pub(crate) asked: Vec<(&'static str, Height)>,
    /// The greatest height that [`LATE`] said it has.
    pub(crate) told: Height,
}

pub(crate) type Log = Arc<Mutex<Seen>>;

struct Nobody;

impl Node for Nobody {
    fn call(&self, _: Request, reply: Reply) {
        reply(Response::Unavailable("nobody is here".into()));
    }
}

pub(crate) fn peer_id(name: &str) -> PeerId {
    NodeKey::development(name).public_key().into()
}

/// Lets a peer join the hub, for as long as the test runs.
pub(crate) fn join(hub: &Hub, chain_id: ChainId, name: &'static str, manner: Manner, chain: &Chain, log: &Log) {
    let context = TransportContext {
        chain_id,
        chain_name: "test".into(),
        name: name.into(),
        role: "validator".into(),
        version: "test".into(),
        identity: Arc::new(NodeKey::development(name)),
        node: NodeHandle::new(Arc::new(Nobody)),
        loopback_only: true,
        admin_token: None,
    };
    let transport = MemoryTransportPlugin::new(hub).bind(&Settings::from_text(""), context).unwrap();
    let (commands, commands_rx) = mpsc::channel(64);
    let (events_tx, events) = mpsc::channel(64);
    tokio::spawn(transport.run(Io { commands: commands_rx, events: events_tx }));
    let peer = Peer { name, manner, chain: Arc::clone(chain), log: Arc::clone(log), commands };
    tokio::spawn(peer.run(events));
}

struct Peer {
    name: &'static str,
    manner: Manner,
    chain: Chain,
    log: Log,
    commands: mpsc::Sender<TransportCommand>,
}

impl Peer {
    /// Runs until it leaves, or the test is over.
    async fn run(self, mut events: mpsc::Receiver<TransportEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                TransportEvent::PeerUp { peer, .. } => {
                    let height = self.chain.len() as u64;
                    self.send(peer, [&[3], height.to_le_bytes().as_slice(), Hash::ZERO.as_bytes()].concat()).await;
                }
                TransportEvent::Message { from, class: Class::Sync, bytes } => match bytes[0] {
                    3 if from == peer_id(LATE) => {
                        let mut seen = self.log.lock().unwrap();
                        seen.told = seen.told.max(Height(number(&bytes)));
                    }
                    4 => {
                        let height = Height(number(&bytes));
                        self.log.lock().unwrap().asked.push((self.name, height));
                        let times = if matches!(self.manner, Manner::Twice) { 2 } else { 1 };
                        for blocks in self.answer(height).iter().cycle().take(times) {
                            self.send(from, encode(self.chain.len() as u64, blocks)).await;
                        }
                        if matches!(self.manner, Manner::Leaves) {
                            // What it gave comes before it is seen to be gone.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            return;
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn answer(&self, from: Height) -> Option<Vec<(Bytes, Bytes)>> {
        let range = |chain: &Chain, skip: u64| -> Vec<(Bytes, Bytes)> {
            chain.iter().skip((from.0 - 1 + skip) as usize).take(AT_ONCE).cloned().collect()
        };
        let good = range(&self.chain, 0);
        Some(match &self.manner {
            Manner::Good | Manner::Twice | Manner::Leaves => good,
            Manner::Silent => return None,
            Manner::Rubbish => good.iter().map(|(_, proof)| (Bytes::from_static(b"rubbish"), proof.clone())).collect(),
            Manner::FalseProofs => {
                let spoil = |proof: Bytes| {
                    let mut bytes = proof.to_vec();
                    *bytes.last_mut().unwrap() ^= 1;
                    Bytes::from(bytes)
                };
                good.into_iter().map(|(block, proof)| (block, spoil(proof))).collect()
            }
            Manner::Ahead => range(&self.chain, 1),
            Manner::Other(chain) => range(chain, 0),
            Manner::Splice(chain) => {
                let half = AT_ONCE / 2;
                good.into_iter().take(half).chain(range(chain, 0).into_iter().skip(half)).collect()
            }
        })
    }

    async fn send(&self, to: PeerId, bytes: Vec<u8>) {
        let command = TransportCommand::Send { to, class: Class::Sync, bytes: bytes.into() };
        drop(self.commands.send(command).await);
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[1..9].try_into().unwrap())
}

fn encode(height: u64, blocks: &[(Bytes, Bytes)]) -> Vec<u8> {
    let mut bytes = [&[5], height.to_le_bytes().as_slice()].concat();
    for part in blocks.iter().flat_map(|(block, proof)| [block, proof]) {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
