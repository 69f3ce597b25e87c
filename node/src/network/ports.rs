//! Which port each node of a network listens on.

use crate::exit::Failure;

/// The default ports of the bootnode, the first validator's RPC and peer address, and the gateway.
const BOOTNODE: u16 = 8546;
const RPC_FIRST: u16 = 8001;
const PEER_FIRST: u16 = 30303;
const GATEWAY: u16 = 8000;

/// The ports of a network of `validators` validators, all on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    validators: u16,
    bootnode: u16,
    rpc_first: u16,
    peer_first: u16,
    gateway: u16,
    gateway_peer: u16,
    gateway_rpc: u16,
}

impl Ports {
    /// The default ports, or consecutive ones from `from` on.
    ///
    /// With `from` = P and N validators: bootnode P; RPC P+1 to P+N; peers P+N+1 to P+2N; gateway P+2N+1, its peer address P+2N+2, and
    /// the RPC of its node P+2N+3.
    ///
    /// # Errors
    ///
    /// A usage error when they do not fit below 65536, or `from` is 0.
    pub fn new(validators: u16, from: Option<u16>) -> Result<Self, Failure> {
        let Some(from) = from else {
            let (gateway_peer, gateway_rpc) = (PEER_FIRST + validators, RPC_FIRST + validators);
            let (bootnode, rpc_first, peer_first, gateway) = (BOOTNODE, RPC_FIRST, PEER_FIRST, GATEWAY);
            return Ok(Self { validators, bootnode, rpc_first, peer_first, gateway, gateway_peer, gateway_rpc });
        };
        let last = u32::from(from) + 2 * u32::from(validators) + 3;
        if from == 0 || last > u32::from(u16::MAX) {
            return Err(Failure::usage(format!(
                "--ports-from {from}: {} ports from there on do not fit into 1 to 65535",
                2 * u32::from(validators) + 4
            )));
        }
        Ok(Self {
            validators,
            bootnode: from,
            rpc_first: from + 1,
            peer_first: from + validators + 1,
            gateway: from + 2 * validators + 1,
            gateway_peer: from + 2 * validators + 2,
            gateway_rpc: from + 2 * validators + 3,
        })
    }

    /// The bootnode's.
    pub const fn bootnode(&self) -> u16 {
        self.bootnode
    }

    /// The RPC port of validator `index`, from 0.
    pub const fn rpc(&self, index: u16) -> u16 {
        self.rpc_first + index
    }

    /// The peer port of validator `index`, from 0.
    pub const fn peer(&self, index: u16) -> u16 {
        self.peer_first + index
    }

    /// The port at which the gateway answers clients.
    pub const fn gateway(&self) -> u16 {
        self.gateway
    }

    /// The port at which the gateway's node answers JSON-RPC, beside the gateway.
    pub const fn gateway_rpc(&self) -> u16 {
        self.gateway_rpc
    }

    /// The port at which the gateway's node meets its peers.
    pub const fn gateway_peer(&self) -> u16 {
        self.gateway_peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_ports_are_those_of_the_original_network() {
        let ports = Ports::new(3, None).unwrap();
        assert_eq!((ports.bootnode(), ports.gateway()), (8546, 8000));
        assert_eq!([0, 1, 2].map(|at| ports.rpc(at)), [8001, 8002, 8003]);
        assert_eq!([0, 1, 2].map(|at| ports.peer(at)), [30303, 30304, 30305]);
    }

    #[test]
    fn ports_from_are_consecutive_in_the_documented_order() {
        let ports = Ports::new(3, Some(9000)).unwrap();
        let all = [ports.bootnode(), ports.rpc(0), ports.rpc(2), ports.peer(0), ports.peer(2), ports.gateway()];
        assert_eq!(all, [9000, 9001, 9003, 9004, 9006, 9007]);
        assert_eq!((ports.gateway_peer(), ports.gateway_rpc()), (9008, 9009));
        assert!(Ports::new(3, Some(65530)).is_err());
        assert!(Ports::new(3, Some(0)).is_err());
    }
}
