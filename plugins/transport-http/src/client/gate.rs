//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Gate {
    connections_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Of all connections.
    Total,
    /// Of connections from the address.
    Address,
}

/// A counted connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(crate) fn new(connections_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { connections_max, per_address_max, open: Mutex::default() })
    }

    /// Counts a connection in.
    ///
    /// # Errors
    ///
    /// The limit that is reached.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Pass, Full> {
        // An IPv4 client of a dual-stack socket is the same client.
        let address = address.to_canonical();
        let mut open = self.lock();
        if open.total >= self.connections_max {
            return Err(Full::Total);
        }
        let count = open.by_address.entry(address).or_default();
        if *count >= self.per_address_max {
            return Err(Full::Address);
        }
        *count += 1;
        open.total += 1;
        Ok(Pass { gate: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.gate.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_can_not_take_all() {
        let gate = Gate::new(3, 2);
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = gate.enter(one).unwrap();
        let _second = gate.enter("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(gate.enter(one).unwrap_err(), Full::Address);
        let _third = gate.enter(other).unwrap();
        assert_eq!(gate.enter(other).unwrap_err(), Full::Total);
        drop(first);
        assert!(gate.enter(one).is_ok());
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let gate = Gate::new(3, 2);
        drop(gate.enter("10.0.0.1".parse().unwrap()).unwrap());
        assert!(gate.lock().by_address.is_empty());
    }
}
