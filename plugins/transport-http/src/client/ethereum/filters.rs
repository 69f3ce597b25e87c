//! Filters: subscriptions for clients that poll. Bounded in number; forgotten when nobody polls them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate::{Hash, Height, node::BlockId};
use serde_json::json;
use tokio::time::Instant;

use super::{Method, place::LogRange};
use crate::client::{
    caller::Caller,
    errors::{NO_SUCH_ID, RpcError, TOO_MANY},
    hexadecimal::{Quantity, parse_quantity},
    params::Arguments,
    rpc::write,
    server::Server,
};

/// Filters of all clients at most.
pub(crate) const FILTERS_MAX: usize = 4096;

/// Filters of one IP address at most.
pub(crate) const FILTERS_PER_ADDRESS_MAX: usize = 256;

/// A filter that is not polled for this long is gone.
pub(crate) const FILTER_LIFE: Duration = Duration::from_secs(300);

/// Blocks told in one poll at most; the next poll goes on from there.
pub(crate) const CHANGES_MAX: u64 = 100;

/// The filters of all clients.
#[derive(Debug)]
pub(crate) struct Filters {
    by_id: Mutex<HashMap<u64, Filter>>,
    random: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Filter {
    owner: IpAddr,
    /// The next block to tell; `None` for a filter on logs, which has nothing to tell.
    next: Option<Height>,
    polled: Instant,
}

impl Filters {
    pub(crate) fn new() -> Self {
        Self { by_id: Mutex::default(), random: RandomState::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Filter>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, owner: IpAddr, next: Option<Height>) -> Result<u64, RpcError> {
        let mut filters = self.lock();
        let now = Instant::now();
        filters.retain(|_, filter| now.duration_since(filter.polled) < FILTER_LIFE);
        let owned = filters.values().filter(|filter| filter.owner == owner).count();
        let reached = [(filters.len(), FILTERS_MAX, "this node"), (owned, FILTERS_PER_ADDRESS_MAX, "this address")];
        for (count, limit, who) in reached {
            if count >= limit {
                let reason = format!("{who} has {limit} filters; uninstall some, or wait until they expire");
                return Err(RpcError::new(TOO_MANY, json!({ "reason": reason, "limit": limit })));
            }
        }
        // Keyed by this process' randomness, so that nobody guesses another's filter.
        let mut id = self.random.hash_one((filters.len(), owner, format!("{now:?}")));
        while filters.contains_key(&id) {
            id = self.random.hash_one(id);
        }
        filters.insert(id, Filter { owner, next, polled: now });
        Ok(id)
    }

    /// Notes a poll and returns the next block to tell.
    fn poll(&self, id: u64) -> Option<Option<Height>> {
        let mut filters = self.lock();
        let filter = filters.get_mut(&id)?;
        let now = Instant::now();
        if now.duration_since(filter.polled) >= FILTER_LIFE {
            filters.remove(&id);
            return None;
        }
        filter.polled = now;
        Some(filter.next)
    }

    fn advance(&self, id: u64, next: Height) {
        if let Some(filter) = self.lock().get_mut(&id) {
            filter.next = filter.next.map(|before| before.max(next));
        }
    }
}

/// `eth_newBlockFilter`, `eth_newFilter`.
pub(super) async fn add(
    server: &Server,
    caller: &Caller,
    method: Method,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let next = if method == Method::NewBlockFilter {
        Some(server.status().await?.height.next())
    } else {
        LogRange::read(server, arguments).await?;
        None
    };
    write(out, &Quantity(server.filters.insert(caller.address, next)?))
}

/// `eth_getFilterChanges`, `eth_getFilterLogs`.
pub(super) async fn changes(
    server: &Server,
    method: Method,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let id = id(arguments)?;
    let next = server.filters.poll(id).ok_or_else(|| unknown(id))?;
    let mut hashes: Vec<Hash> = Vec::new();
    if let Some(next) = next
        && method == Method::FilterChanges
    {
        let latest = server.status().await?.height.min(Height(next.0.saturating_add(CHANGES_MAX - 1)));
        let mut height = next;
        while height <= latest {
            let Some(block) = server.block(BlockId::Height(height)).await? else { break };
            hashes.push(block.block.hash());
            height = height.next();
        }
        server.filters.advance(id, height);
    }
    write(out, &hashes)
}

/// `eth_uninstallFilter`.
pub(super) fn remove(server: &Server, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let id = id(arguments)?;
    write(out, &server.filters.lock().remove(&id).is_some())
}

fn id(arguments: &Arguments<'_>) -> Result<u64, RpcError> {
    let text: String = arguments.required(0)?;
    parse_quantity(&text).ok_or_else(|| arguments.wrong(0, "expected a filter's id, such as \"0x1f\""))
}

fn unknown(id: u64) -> RpcError {
    let reason = format!("there is no filter {id:#x}; it may have expired, or this is another node");
    RpcError::new(NO_SUCH_ID, json!({ "reason": reason, "id": Quantity(id) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn filters_are_bounded_and_expire() {
        let filters = Filters::new();
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = filters.insert(one, None).unwrap();
        for _ in 1..FILTERS_PER_ADDRESS_MAX {
            filters.insert(one, None).unwrap();
        }
        assert_eq!(filters.insert(one, None).unwrap_err().code, -32019);
        assert!(filters.insert(other, None).is_ok());
        tokio::time::advance(FILTER_LIFE / 2).await;
        assert!(filters.poll(first).is_some());
        tokio::time::advance(FILTER_LIFE / 2).await;
        assert!(filters.insert(one, None).is_ok());
        assert!(filters.poll(first).is_some(), "a poll keeps it");
        tokio::time::advance(FILTER_LIFE).await;
        assert!(filters.poll(first).is_none());
    }
}
