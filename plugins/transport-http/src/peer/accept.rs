//! Takes connections: each handshake beside the others, and the oldest unfinished one given up for a newer when there are too many.
//!
//! An honest handshake takes milliseconds; one that is still unfinished when many came after it is most likely meant to be. So a
//! flood from one address costs that address, and to keep an honest peer at the same address out it has to come faster than
//! [`HANDSHAKES_PER_ADDRESS_MAX`] in the time of a handshake.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::sleep,
};
use tracing::{debug, error, warn};

use super::{
    handshake::{Failure, Side, establish},
    hello::Farewell,
    link, locked,
    shared::Shared,
    table::{Origin, counted_address},
};

/// Accepted connections whose handshake is not finished, at most.
pub const HANDSHAKES_MAX: usize = 256;

/// Those of them from one IPv4 address or one IPv6 network of 64 bits.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;

/// How long to wait when the system gives no connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the node stops, then waits for the connections to end.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let pending = Arc::new(Mutex::new(Pending::default()));
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        tokio::select! {
            () = shared.stopping() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, remote)) => {
                    failing = false;
                    connections.spawn(serve(Arc::clone(&shared), Arc::clone(&pending), socket, remote));
                }
                Err(error) => {
                    if !failing {
                        warn!(%error, "connection not accepted");
                        failing = true;
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// Logs a task that panicked.
pub(super) fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failed) = ended
        && failed.is_panic()
    {
        error!(error = &failed as &dyn std::error::Error, "connection failed");
    }
}

async fn serve(shared: Arc<Shared>, pending: Arc<Mutex<Pending>>, socket: TcpStream, remote: SocketAddr) {
    let (turn, given_up) = Turn::begin(&pending, counted_address(remote.ip()));
    let attempt = tokio::select! {
        attempt = establish(&shared, socket, Side::Listener(remote)) => attempt,
        _ = given_up => {
            debug!(%remote, "handshake given up for a newer connection");
            return;
        }
        () = shared.stopping() => return,
    };
    drop(turn);
    match attempt {
        Ok(standing) => link::run(&shared, standing).await,
        Err(Failure::Broken(reason)) => debug!(%remote, reason, "handshake failed"),
        Err(Failure::Refused { farewell: Farewell::Duplicate | Farewell::Stopping, reason, .. }) => {
            debug!(%remote, reason, "connection not needed");
        }
        Err(Failure::Refused { address, reason, .. }) => {
            shared.refused(Origin::Accepted(counted_address(remote.ip())), &address, &reason);
        }
    }
}

/// Handshakes that are not finished, the oldest first.
#[derive(Debug, Default)]
struct Pending {
    next_id: u64,
    waiting: VecDeque<(u64, IpAddr, oneshot::Sender<()>)>,
}

/// A place among the handshakes, given back when dropped.
struct Turn {
    pending: Arc<Mutex<Pending>>,
    id: u64,
}

impl Turn {
    /// Takes a place, if need be that of the oldest; the receiver's sender is dropped when this one is given up.
    fn begin(pending: &Arc<Mutex<Pending>>, address: IpAddr) -> (Self, oneshot::Receiver<()>) {
        let (kept, given_up) = oneshot::channel();
        let mut state = locked(pending);
        let here = state.waiting.iter().filter(|(_, other, _)| *other == address).count();
        let oldest = if here >= HANDSHAKES_PER_ADDRESS_MAX {
            state.waiting.iter().position(|(_, other, _)| *other == address)
        } else {
            (state.waiting.len() >= HANDSHAKES_MAX).then_some(0)
        };
        if let Some(position) = oldest {
            // Its sender goes with it, which its receiver notices.
            drop(state.waiting.remove(position));
        }
        state.next_id += 1;
        let id = state.next_id;
        state.waiting.push_back((id, address, kept));
        (Self { pending: Arc::clone(pending), id }, given_up)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.pending).waiting.retain(|(id, ..)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn one_address_gives_up_its_own_oldest_handshake() {
        let pending = Arc::default();
        let here = |host| IpAddr::from(Ipv4Addr::new(10, 0, 0, host));
        let (_other, mut other) = Turn::begin(&pending, here(2));
        let mut turns: Vec<_> = (0..HANDSHAKES_PER_ADDRESS_MAX).map(|_| Turn::begin(&pending, here(1))).collect();
        assert!(turns.iter_mut().all(|(_, given_up)| given_up.try_recv() == Err(TryRecvError::Empty)));
        let _newest = Turn::begin(&pending, here(1));
        assert_eq!(turns[0].1.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(turns[1].1.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
    }

    #[tokio::test]
    async fn handshakes_are_bounded_in_all() {
        let pending = Arc::default();
        let mut turns = Vec::new();
        for host in 0..=HANDSHAKES_MAX {
            let address = Ipv4Addr::from_bits(u32::try_from(host).unwrap());
            turns.push(Turn::begin(&pending, address.into()));
        }
        assert_eq!(turns[0].1.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(locked(&pending).waiting.len(), HANDSHAKES_MAX);
        drop(turns);
        assert!(locked(&pending).waiting.is_empty());
    }
}
