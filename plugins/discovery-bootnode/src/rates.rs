//! What one address may ask: requests a second and connections at a time, in bounded memory.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use quorate::Instant;

/// Addresses whose requests are counted at a time; while all are busy, a new one is refused.
pub(crate) const ADDRESSES_MAX: usize = 4096;

/// Requests that an address may have saved up, as a multiple of what it may ask a second.
const BURST_S: u64 = 4;

/// Thousandths of a request, so that the refill needs no fractions.
const UNIT: u64 = 1000;

#[derive(Debug)]
struct Bucket {
    milli: u64,
    at: Instant,
}

/// Requests by address: a bucket each.
#[derive(Debug)]
pub(crate) struct Rates {
    buckets: HashMap<IpAddr, Bucket>,
    per_s: u64,
}

impl Rates {
    pub(crate) fn new(per_s: u32) -> Self {
        Self { buckets: HashMap::new(), per_s: u64::from(per_s) }
    }

    /// Takes one request of `address`; false when it has none left.
    pub(crate) fn take(&mut self, now: Instant, address: IpAddr) -> bool {
        let full = self.per_s * BURST_S * UNIT;
        let per_s = self.per_s;
        let refilled = |bucket: &Bucket| {
            let gained = now.since(bucket.at).as_millis().min(u128::from(full));
            bucket.milli.saturating_add(u64::try_from(gained).unwrap_or(full).saturating_mul(per_s)).min(full)
        };
        if !self.buckets.contains_key(&address) && self.buckets.len() >= ADDRESSES_MAX {
            // Whoever is back at full is as good as unknown.
            self.buckets.retain(|_, bucket| refilled(bucket) < full);
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(address).or_insert(Bucket { milli: full, at: now });
        bucket.milli = refilled(bucket);
        bucket.at = now;
        match bucket.milli.checked_sub(UNIT) {
            Some(left) => {
                bucket.milli = left;
                true
            }
            None => false,
        }
    }
}

/// Connections by address.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_address: HashMap<IpAddr, usize>,
    all: usize,
}

impl Connections {
    /// Counts one more; false when `per_address_max` or `max` is reached.
    pub(crate) fn open(&mut self, address: IpAddr, per_address_max: usize, max: usize) -> bool {
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if self.all >= max || here >= per_address_max {
            return false;
        }
        self.by_address.insert(address, here + 1);
        self.all += 1;
        true
    }

    /// Counts one less.
    pub(crate) fn close(&mut self, address: IpAddr) {
        self.all = self.all.saturating_sub(1);
        match self.by_address.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_address.remove(&address)),
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 subscriber has.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn an_address_has_a_burst_and_then_its_rate() {
        let mut rates = Rates::new(10);
        let start = Instant(0);
        assert_eq!((0..100).filter(|_| rates.take(start, ip(1))).count(), 40);
        assert!(rates.take(start, ip(2)), "another address is not held up");
        let later = start.after(Duration::from_millis(500));
        assert_eq!((0..100).filter(|_| rates.take(later, ip(1))).count(), 5);
        let much_later = later.after(Duration::from_secs(u64::MAX / 2_000_000));
        assert_eq!((0..100).filter(|_| rates.take(much_later, ip(1))).count(), 40);
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_make_room_when_idle() {
        let mut rates = Rates::new(10);
        for number in 0..20_000 {
            rates.take(Instant(0), ip(number));
        }
        assert_eq!(rates.buckets.len(), ADDRESSES_MAX);
        assert!(rates.take(Instant(0).after(Duration::from_secs(60)), ip(30_000)));
        assert_eq!(rates.buckets.len(), 1);
    }

    #[test]
    fn connections_are_counted_down_to_nothing() {
        let mut open = Connections::default();
        assert!(open.open(ip(1), 2, 3) && open.open(ip(1), 2, 3));
        assert!(!open.open(ip(1), 2, 3), "one address has its limit");
        assert!(open.open(ip(2), 2, 3));
        assert!(!open.open(ip(3), 2, 3), "all together have theirs");
        open.close(ip(1));
        assert!(open.open(ip(3), 2, 3));
        for one in [1, 2, 3] {
            open.close(ip(one));
        }
        assert!(open.by_address.is_empty() && open.all == 0);
    }

    #[test]
    fn one_subscriber_is_one_source() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:1".parse().unwrap();
        assert_eq!(source(a), source(b));
        assert_eq!(source("::ffff:127.0.0.1".parse().unwrap()), ip(0x7f00_0001));
    }
}
