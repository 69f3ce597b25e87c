//! Carries out the kernel's commands until it says stop.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::{
    PeerId,
    transport::{Class, MESSAGE_BYTES_MAX, TransportCommand, TransportError, TransportEvent},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    Peers, accept, dial,
    hello::{ADDRESS_BYTES_MAX, Farewell, Goodbye, REASON_BYTES_MAX, printable},
    locked,
    outbox::Pushed,
    shared::Shared,
};

/// Peers that are dialled at most; further ones are not.
pub(super) const DIALS_MAX: usize = 1024;

/// How long connections may take to end after a stop; the contract has two seconds.
const STOP_TIME_MAX: Duration = Duration::from_millis(1600);

/// Every so many dropped messages of a connection are logged, and the first.
const DROPS_LOGGED_EVERY: u64 = 10_000;

/// Runs the peers' part of a transport.
pub(super) async fn run(
    peers: Peers,
    mut commands: mpsc::Receiver<TransportCommand>,
    events: mpsc::Sender<TransportEvent>,
) -> Result<(), TransportError> {
    let failed = |source| TransportError::Io { action: "peers listening".into(), source };
    let Peers { listener, address, mut settings, context, tls } = peers;
    settings.listen = address;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    info!(address = %address, "peers listened for");
    let shared = Arc::new(Shared::new(settings, context, tls, events));
    let mut hub = Hub { shared, dials: HashMap::new(), own_key_dialled: false, tasks: JoinSet::new() };
    hub.tasks.spawn(accept::run(Arc::clone(&hub.shared), listener));
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(TransportCommand::Stop) => break,
                Some(command) => hub.obey(command),
            },
            Some(ended) = hub.tasks.join_next() => accept::report(ended),
        }
    }
    hub.stop().await;
    Ok(())
}

struct Hub {
    shared: Arc<Shared>,
    dials: HashMap<PeerId, watch::Sender<String>>,
    /// Whether it was logged that this node was told to dial itself.
    own_key_dialled: bool,
    tasks: JoinSet<()>,
}

impl Hub {
    fn obey(&mut self, command: TransportCommand) {
        match command {
            TransportCommand::Send { to, class, bytes } => self.send(Some(to), class, &bytes),
            TransportCommand::Broadcast { class, bytes } => self.send(None, class, &bytes),
            TransportCommand::Dial { peer, address } => self.dial(peer, address),
            TransportCommand::Disconnect { peer, reason, ban_ms } => {
                let reason = printable(&reason, REASON_BYTES_MAX);
                info!(%peer, reason, ban_ms, "peer disconnect ordered");
                locked(&self.shared.table).ban(peer, &reason, Duration::from_millis(ban_ms), Instant::now());
            }
            TransportCommand::Validators(validators) => locked(&self.shared.table).set_validators(&validators),
            // Stop is handled by the caller; the rest is for others.
            _ => {}
        }
    }

    fn send(&self, to: Option<PeerId>, class: Class, bytes: &Bytes) {
        if bytes.len() > MESSAGE_BYTES_MAX {
            warn!(?class, bytes = bytes.len(), limit = MESSAGE_BYTES_MAX, "message not sent: too long");
            return;
        }
        let table = locked(&self.shared.table);
        table.send(to, class, bytes, &self.shared.strangers_unsent, |peer, outbox, pushed| match pushed {
            Pushed::Queued | Pushed::Closed => {}
            Pushed::Dropped(count) if count % DROPS_LOGGED_EVERY == 1 => {
                warn!(%peer, ?class, count, "message dropped: send queue full");
            }
            Pushed::Dropped(_) => {}
            Pushed::Overflow => {
                warn!(%peer, "peer dropped: consensus send queue full");
                let reason = "does not take consensus messages: the send queue is full";
                outbox.close(Goodbye::new(Farewell::TooSlow, reason), false);
            }
        });
    }

    fn dial(&mut self, peer: PeerId, address: String) {
        if address.len() > ADDRESS_BYTES_MAX {
            warn!(%peer, bytes = address.len(), limit = ADDRESS_BYTES_MAX, "peer not dialled: address too long");
            return;
        }
        if let Some(known) = self.dials.get(&peer) {
            known.send_if_modified(|old| {
                let newer = *old != address;
                *old = address;
                newer
            });
            return;
        }
        if peer == self.shared.own {
            if !std::mem::replace(&mut self.own_key_dialled, true) {
                info!(address, "peer not dialled: it has this node's key");
            }
            return;
        }
        if self.dials.len() >= DIALS_MAX {
            warn!(%peer, address, limit = DIALS_MAX, "peer not dialled: too many are");
            return;
        }
        let (sender, receiver) = watch::channel(address);
        self.dials.insert(peer, sender);
        locked(&self.shared.table).want(peer);
        self.tasks.spawn(dial::keep(Arc::clone(&self.shared), peer, receiver));
    }

    async fn stop(mut self) {
        self.shared.stop();
        let ended = timeout(STOP_TIME_MAX, async {
            while let Some(ended) = self.tasks.join_next().await {
                accept::report(ended);
            }
        });
        if ended.await.is_err() {
            warn!("connections cut: they did not end in time");
            self.tasks.shutdown().await;
        }
        info!("peers let go");
    }
}
