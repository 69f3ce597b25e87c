//! What one address may take: requests a second, and connections at a time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Addresses whose requests are counted at a time; beyond, those that are back at full are forgotten, and a new one is refused when none is.
const ADDRESSES_MAX: usize = 1 << 14;

/// Seconds' worth of requests that may come at once.
const BURST_S: u32 = 2;

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 subscriber has.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// See the module.
pub(crate) struct Limits {
    rates: DefaultKeyedRateLimiter<IpAddr>,
    connections: Mutex<HashMap<IpAddr, usize>>,
    connections_max: usize,
    per_address_max: usize,
}

/// A counted connection; counts down when dropped.
pub(crate) struct Counted {
    limits: Arc<Limits>,
    from: IpAddr,
}

impl Limits {
    pub(crate) fn new(requests_per_s: u32, connections_max: usize, per_address_max: usize) -> Self {
        let per_s = NonZeroU32::new(requests_per_s).unwrap_or(NonZeroU32::MIN);
        let burst = per_s.saturating_mul(NonZeroU32::new(BURST_S).unwrap_or(NonZeroU32::MIN));
        let quota = Quota::per_second(per_s).allow_burst(burst);
        Self { rates: RateLimiter::keyed(quota), connections: Mutex::default(), connections_max, per_address_max }
    }

    /// One more connection of an address; `None` when it, or all together, have as many as they may.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let from = source(address);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = connections.values().sum();
        let here = connections.entry(from).or_insert(0);
        let fits = all < self.connections_max && *here < self.per_address_max;
        if fits {
            *here += 1;
        } else if *here == 0 {
            connections.remove(&from);
        }
        fits.then(|| Counted { limits: Arc::clone(self), from })
    }
}

impl Counted {
    /// Takes one request of this connection's address; false when it has none left.
    pub(crate) fn request(&self) -> bool {
        let rates = &self.limits.rates;
        if rates.len() > ADDRESSES_MAX {
            rates.retain_recent();
            if rates.len() > ADDRESSES_MAX {
                return false;
            }
        }
        rates.check_key(&self.from).is_ok()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut connections = self.limits.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connections.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn connections_are_counted_by_address_and_in_all_down_to_nothing() {
        let limits = Arc::new(Limits::new(1, 3, 2));
        let first = limits.connect(ip(1)).unwrap();
        let _second = limits.connect(ip(1)).unwrap();
        assert!(limits.connect(ip(1)).is_none(), "one address has its limit");
        let third = limits.connect(ip(2)).unwrap();
        assert!(limits.connect(ip(3)).is_none(), "all together have theirs");
        drop((first, third));
        assert!(limits.connect(ip(3)).is_some());
        drop(_second);
        assert!(limits.connections.lock().unwrap().is_empty());
    }

    #[test]
    fn an_address_has_a_burst_and_another_is_not_held_up() {
        let limits = Arc::new(Limits::new(5, 9, 9));
        let (one, other) = (limits.connect(ip(1)).unwrap(), limits.connect(ip(2)).unwrap());
        let allowed = (0..100).filter(|_| one.request()).count();
        // A slow machine may gain a few meanwhile.
        assert!((10..100).contains(&allowed), "{allowed}");
        assert!(other.request());
    }

    #[test]
    fn one_subscriber_is_one_source() {
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| text.parse().unwrap());
        assert_eq!(source(a), source(b));
        assert_eq!(source("::ffff:127.0.0.1".parse().unwrap()), ip(0x7f00_0001));
    }
}
