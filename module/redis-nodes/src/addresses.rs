//! Addresses of a group's nodes that have host names.

use std::net::SocketAddr;

use openai_core::redlock::NodeId;
use rustc_hash::FxHashMap;

/// The last known address of each node, and the addresses in use. Two nodes must not use one
/// address at the same time, because databases of one server are not independent.
#[derive(Debug, Default)]
pub struct Addresses {
    last: FxHashMap<NodeId, SocketAddr>,
    /// Those of connections that are open or being opened.
    in_use: Vec<(NodeId, SocketAddr)>,
}

impl Addresses {
    /// The address at which the node was connected last, at first `configured`.
    pub fn last(&self, node: NodeId, configured: SocketAddr) -> SocketAddr {
        self.last.get(&node).copied().unwrap_or(configured)
    }

    /// Stores the address at which the node is connected.
    pub fn connected(&mut self, node: NodeId, address: SocketAddr) {
        self.last.insert(node, address);
    }

    /// Reserves an address for a connection, until [`Addresses::release`]. `false` if a connection
    /// of another node uses it.
    #[must_use]
    pub fn reserve(&mut self, node: NodeId, address: SocketAddr) -> bool {
        let is_free = self.in_use.iter().all(|&(n, a)| n == node || a != address);
        if is_free {
            self.in_use.push((node, address));
        }
        is_free
    }

    /// Ends a reservation.
    pub fn release(&mut self, node: NodeId, address: SocketAddr) {
        let mut in_use = self.in_use.iter();
        if let Some(at) = in_use.position(|&used| used == (node, address)) {
            self.in_use.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NodeId = NodeId(0);
    const TWO: NodeId = NodeId(1);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6379))
    }

    #[test]
    fn two_nodes_do_not_use_one_address_at_the_same_time() {
        let mut addresses = Addresses::default();
        assert!(addresses.reserve(ONE, address(1)));
        assert!(!addresses.reserve(TWO, address(1)));
        // A new connection may be opened before the old one is closed.
        assert!(addresses.reserve(ONE, address(1)));
        addresses.release(ONE, address(1));
        assert!(!addresses.reserve(TWO, address(1)));
        addresses.release(ONE, address(1));
        assert!(addresses.reserve(TWO, address(1)));
    }

    #[test]
    fn two_nodes_can_exchange_their_addresses() {
        let mut addresses = Addresses::default();
        for (node, last) in [(ONE, 1), (TWO, 2)] {
            assert!(addresses.reserve(node, address(last)));
            addresses.connected(node, address(last));
        }
        addresses.release(ONE, address(1));
        addresses.release(TWO, address(2));
        assert!(addresses.reserve(ONE, address(2)));
        assert!(addresses.reserve(TWO, address(1)));
    }

    #[test]
    fn only_an_address_at_which_a_node_was_connected_is_its_last() {
        let mut addresses = Addresses::default();
        assert!(addresses.reserve(ONE, address(2)));
        assert_eq!(addresses.last(ONE, address(1)), address(1));
        addresses.connected(ONE, address(2));
        assert_eq!(addresses.last(ONE, address(1)), address(2));
    }
}
