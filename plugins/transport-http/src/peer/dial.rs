//! Keeps a connection to one peer: dials while there is none, with growing pauses, for ever.

use std::{sync::Arc, time::Duration};

use quorate::PeerId;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::debug;

use super::{
    handshake::{Failure, Side, Standing, establish},
    hello::Farewell,
    link, locked,
    shared::{Shared, random},
    table::Origin,
};

/// The first pause between attempts.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause between attempts.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A connection that stood so long ends a series of failures.
const STOOD_WELL: Duration = Duration::from_secs(10);

/// Addresses of one host name which are tried in one attempt at most.
const RESOLVED_MAX: usize = 8;

/// How long one of several addresses may take to answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// Dials `peer` whenever it has no connection, until the node stops.
pub(super) async fn keep(shared: Arc<Shared>, peer: PeerId, mut address: watch::Receiver<String>) {
    let mut pause = Pause::default();
    let mut replace = false;
    loop {
        tokio::select! {
            () = until_wanted(&shared, peer) => {}
            () = shared.stopping() => return,
        }
        let target = address.borrow_and_update().clone();
        let attempt = tokio::select! {
            attempt = dial(&shared, peer, &target, replace) => attempt,
            () = shared.stopping() => return,
            changed = address.changed() => match changed {
                Ok(()) => { pause = Pause::default(); continue }
                Err(_) => return,
            },
        };
        replace = matches!(&attempt, Err(Failure::Refused { farewell: Farewell::Duplicate, .. }));
        match attempt {
            Ok(standing) => {
                let begun = Instant::now();
                link::run(&shared, standing).await;
                if begun.elapsed() >= STOOD_WELL {
                    pause = Pause::default();
                }
            }
            Err(failure) => note(&shared, &target, &failure),
        }
        tokio::select! {
            () = sleep(pause.next()) => {}
            () = shared.stopping() => return,
            changed = address.changed() => match changed {
                Ok(()) => pause = Pause::default(),
                Err(_) => return,
            },
        }
    }
}

/// Waits until the peer has no connection and no ban.
async fn until_wanted(shared: &Shared, peer: PeerId) {
    loop {
        let (mut count, banned_until) = locked(&shared.table).watch(peer);
        if let Some(until) = banned_until.filter(|until| *until > Instant::now()) {
            sleep_until(until).await;
            continue;
        }
        // Fails when the peer was forgotten in the table, which means that it has no connection.
        if count.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        let banned = locked(&shared.table).watch(peer).1.is_some_and(|until| until > Instant::now());
        if !banned {
            return;
        }
    }
}

async fn dial(shared: &Arc<Shared>, peer: PeerId, address: &str, replace: bool) -> Result<Standing, Failure> {
    let limit = shared.timing.handshake;
    let socket = timeout(limit, connect(address))
        .await
        .unwrap_or_else(|_| Err(Failure::Broken(format!("not connected after {} ms", limit.as_millis()))))?;
    establish(shared, socket, Side::Dialler { peer, address: address.to_owned(), replace }).await
}

/// Resolves the name anew and connects to the first of its addresses that answers.
async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let resolved = lookup_host(address).await.map_err(|error| Failure::broken("name not resolved", &error))?;
    let mut failure = Failure::Broken("the name has no address".into());
    for address in resolved.take(RESOLVED_MAX) {
        match timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => failure = Failure::broken("not connected", &error),
            Err(elapsed) => failure = Failure::broken("not connected", &elapsed),
        }
    }
    Err(failure)
}

fn note(shared: &Shared, target: &str, failure: &Failure) {
    match failure {
        Failure::Broken(reason) => shared.unreached(target, reason),
        Failure::Refused { farewell: Farewell::Duplicate | Farewell::Stopping, reason, .. } => {
            debug!(address = target, reason, "connection not needed");
        }
        Failure::Refused { address, reason, .. } => shared.refused(Origin::Dialled, address, reason),
    }
}

/// Pauses that double from [`PAUSE_MIN`] to [`PAUSE_MAX`], each shortened at random by up to a half, so that nodes which lost each
/// other at once do not come back at once.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    fn next(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        let [jitter] = random::<1>();
        full - full.mul_f64(f64::from(jitter) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_never_end() {
        let mut pause = Pause::default();
        let mut full = PAUSE_MIN;
        for _ in 0..100 {
            let next = pause.next();
            assert!(next <= full && next >= full / 2, "{next:?} of {full:?}");
            full = (full * 2).min(PAUSE_MAX);
        }
        assert_eq!(full, PAUSE_MAX);
    }
}
