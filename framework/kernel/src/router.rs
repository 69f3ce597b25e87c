//! The router: sorts what comes from transport and discovery to the loop, the intake, and to those who serve blocks.

use std::{collections::BTreeSet, sync::Arc};

use quorate::{
    Height, PeerId, ValidatorIndex,
    discovery::DiscoveryEvent,
    transport::{Class, TransportCommand, TransportEvent},
};
use tokio::sync::mpsc;

use crate::{
    core::{Control, Envelope},
    intake::{self, Submission},
    named::{Framed, Unmade},
    requests,
    shared::Shared,
    wire::Message,
};

/// Requests for blocks that may wait to be served.
pub(crate) const SERVE_MAX: usize = 64;

/// How long a peer is turned away whose bytes are no message.
const BAN_MS: u64 = 10_000;

/// Validators for whose connections the transport was given an address.
type Dialled = BTreeSet<PeerId>;

pub(crate) struct Router {
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: mpsc::Sender<TransportCommand>,
    pub(crate) messages: mpsc::Sender<Envelope>,
    pub(crate) controls: mpsc::Sender<Control>,
    pub(crate) intake: mpsc::Sender<Submission>,
    pub(crate) serve: mpsc::Sender<(PeerId, Height, u32)>,
}

impl Router {
    /// Runs until the transport is gone.
    pub(crate) async fn run(
        self,
        mut transport: mpsc::Receiver<TransportEvent>,
        mut discovery: Option<mpsc::Receiver<DiscoveryEvent>>,
    ) {
        let mut dialled = Dialled::new();
        loop {
            let found = async {
                match &mut discovery {
                    Some(events) => events.recv().await,
                    None => std::future::pending().await,
                }
            };
            let going = tokio::select! {
                event = transport.recv() => match event {
                    Some(event) => self.transport(event, &mut dialled).await,
                    None => return,
                },
                event = found => match event {
                    Some(event) => self.discovery(event, &mut dialled).await,
                    None => {
                        discovery = None;
                        Some(())
                    }
                },
            };
            if going.is_none() {
                return;
            }
        }
    }

    /// `None` when the node stops.
    async fn transport(&self, event: TransportEvent, dialled: &mut Dialled) -> Option<()> {
        match event {
            TransportEvent::PeerUp { peer, name, address } => {
                tracing::debug!(%peer, name, address, "peer announced");
                if self.is_validator(peer) && dialled.insert(peer) {
                    // It found this node and not the other way round. Without a discovery that answers, after its next start only
                    // this node knows the way.
                    let command = TransportCommand::Dial { peer, address: address.clone() };
                    self.transport.send(command).await.ok()?;
                }
                self.shared.peers().up(peer, name, address);
                self.controls.send(Control::PeerUp(peer)).await.ok()?;
                self.greet(peer).await
            }
            TransportEvent::PeerDown { peer, reason } => {
                tracing::debug!(%peer, reason, "peer gone");
                self.shared.peers().down(&peer);
                self.shared.names().forget(&peer);
                self.controls.send(Control::PeerDown(peer)).await.ok()
            }
            TransportEvent::PeerRefused { address, reason } => {
                if self.shared.peers().refused(address.clone(), reason.clone()) {
                    tracing::warn!(address, reason, "peer refused");
                }
                Some(())
            }
            TransportEvent::Message { from, class: Class::Consensus, bytes } => {
                let validator = self.shared.view().validators.index_of(&from.into());
                if validator.is_none() {
                    self.shared.metrics.messages_dropped.inc();
                    return Some(());
                }
                match Framed::decode(&bytes) {
                    Some(framed) => self.consensus(from, validator, framed).await,
                    None => self.no_message(from).await,
                }
            }
            TransportEvent::Message { from, bytes, .. } => match Message::decode(&bytes) {
                Some(message) => self.message(from, message).await,
                None => self.no_message(from).await,
            },
            _ => Some(()),
        }
    }

    async fn no_message(&self, from: PeerId) -> Option<()> {
        let reason = "sent bytes that are no message".into();
        self.transport.send(TransportCommand::Disconnect { peer: from, reason, ban_ms: BAN_MS }).await.ok()
    }

    async fn consensus(&self, from: PeerId, validator: Option<ValidatorIndex>, framed: Framed) -> Option<()> {
        let reply = |bytes| TransportCommand::Send { to: from, class: Class::Consensus, bytes };
        match framed {
            Framed::Whole(bytes) => self.messages.send(Envelope { from, validator, bytes }).await.ok(),
            Framed::Named(named) => {
                let known = self.shared.names().known(&named);
                let made = known.map_or_else(
                    || {
                        let now = self.shared.clock.now();
                        let allowed = |bytes| self.shared.names().allows(from, now, bytes);
                        let mut held = self.shared.pool().held(named.ids()).into_iter();
                        let made = named.whole(|_| held.next().flatten(), allowed);
                        if let Ok(message) = &made {
                            self.shared.names().keep(from, &named, message.clone());
                        }
                        made
                    },
                    Ok,
                );
                match made {
                    Ok(bytes) => {
                        self.shared.metrics.messages_named.inc();
                        self.messages.send(Envelope { from, validator, bytes }).await.ok()
                    }
                    Err(Unmade::Missing) => {
                        self.shared.metrics.messages_wanted.inc();
                        self.transport.send(reply(Framed::wanted(named.digest()))).await.ok()
                    }
                    Err(Unmade::TooMuch) => {
                        self.shared.metrics.messages_dropped.inc();
                        Some(())
                    }
                }
            }
            Framed::Wanted(digest) => {
                let given = self.shared.names().give(&digest, from);
                match given {
                    Some(bytes) => self.transport.send(reply(bytes)).await.ok(),
                    None => Some(()),
                }
            }
        }
    }

    /// Tells a new peer how high this node is, and gives it the pool.
    async fn greet(&self, to: PeerId) -> Option<()> {
        let tip = self.shared.view().tip;
        let status = Message::Status { height: tip.height, hash: tip.hash }.encode();
        self.transport.send(TransportCommand::Send { to, class: Class::Sync, bytes: status }).await.ok()?;
        for message in intake::whole_pool(&self.shared) {
            let command = TransportCommand::Send { to, class: Class::Pool, bytes: message };
            self.transport.send(command).await.ok()?;
        }
        Some(())
    }

    async fn message(&self, from: PeerId, message: Message) -> Option<()> {
        match message {
            Message::Transactions(transactions) => {
                intake::offer(&self.shared, &self.intake, from, transactions);
                Some(())
            }
            Message::Evidence(pieces) => self.controls.send(Control::Evidence { peer: from, pieces }).await.ok(),
            Message::Status { height, hash } => {
                self.shared.peers().height(&from, height);
                self.controls.send(Control::PeerStatus { peer: from, height, hash }).await.ok()
            }
            Message::BlockRequest { from: height, bytes_max } => {
                if self.serve.try_send((from, height, bytes_max)).is_err() {
                    self.shared.metrics.messages_dropped.inc();
                }
                Some(())
            }
            Message::Blocks { height, blocks } => {
                self.shared.peers().height(&from, height);
                self.controls.send(Control::Blocks { peer: from, height, blocks }).await.ok()
            }
            Message::Pruned { height, blocks_from } => {
                self.shared.peers().height(&from, height);
                self.controls.send(Control::Pruned { peer: from, height, blocks_from }).await.ok()
            }
        }
    }

    fn is_validator(&self, peer: PeerId) -> bool {
        self.shared.view().validators.index_of(&peer.into()).is_some()
    }

    async fn discovery(&self, event: DiscoveryEvent, dialled: &mut Dialled) -> Option<()> {
        match event {
            DiscoveryEvent::Found { peer, name, address } if peer != PeerId::from(self.shared.who.key) => {
                tracing::debug!(%peer, name, address, "peer found");
                if self.is_validator(peer) {
                    dialled.insert(peer);
                }
                self.transport.send(TransportCommand::Dial { peer, address }).await.ok()
            }
            DiscoveryEvent::Elsewhere { peer, address, chain_id } if self.is_validator(peer) => {
                let theirs = chain_id.map_or_else(|| "an unnamed one".to_owned(), |chain_id| chain_id.to_string());
                let own = self.shared.ledger.genesis.chain_id();
                let reason = format!(
                    "a validator of this network's genesis is registered for another network: {theirs} of the peer, {own} of this node"
                );
                if self.shared.peers().refused(address.clone(), reason.clone()) {
                    tracing::warn!(%peer, address, reason, "peer refused");
                }
                Some(())
            }
            DiscoveryEvent::Source { reachable, detail } => {
                if reachable {
                    tracing::info!(detail, "discovery answered");
                } else {
                    tracing::warn!(detail, "discovery did not answer; trying again");
                }
                Some(())
            }
            _ => Some(()),
        }
    }
}

/// Gives blocks to peers who asked, one request at a time.
pub(crate) async fn serve_blocks(
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<(PeerId, Height, u32)>,
    transport: mpsc::Sender<TransportCommand>,
) {
    while let Some((to, from, bytes_max)) = requests.recv().await {
        let view = shared.view();
        let height = view.tip.height;
        if let Some(pruned) = view.pruned(from.max(Height(1))) {
            let bytes = Message::Pruned { height, blocks_from: pruned.blocks_from }.encode();
            if transport.send(TransportCommand::Send { to, class: Class::Sync, bytes }).await.is_err() {
                return;
            }
            continue;
        }
        let Ok(read) = tokio::task::spawn_blocking(move || requests::range(&view, from, bytes_max)).await else {
            return;
        };
        let blocks = match read {
            Ok(blocks) => blocks,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "blocks could not be read for a peer");
                continue;
            }
        };
        let bytes = Message::Blocks { height, blocks }.encode();
        if transport.send(TransportCommand::Send { to, class: Class::Sync, bytes }).await.is_err() {
            return;
        }
    }
}
