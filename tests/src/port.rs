//! Ports to listen on.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the range from which the kernel takes ports of outgoing connections: between our look
/// and nginx's bind, no client can take the port. Above 10,080, which browsers and Node.js refuse
/// to connect to.
const FIRST: u16 = 10_100;
/// A process claims ports by the block, so that suites that run side by side have different ones:
/// it listens on the first port of a block for as long as it lives.
const BLOCK: u16 = 100;
const BLOCKS: u16 = 200;

static PORTS: Mutex<Ports> = Mutex::new(Ports {
    claims: Vec::new(),
    next: 0,
});

struct Ports {
    /// The blocks of this process, by their first ports.
    claims: Vec<(u16, TcpListener)>,
    /// How many ports have been looked at.
    next: usize,
}

impl Ports {
    fn next(&mut self) -> u16 {
        let in_block = usize::from(BLOCK) - 1;
        if self.next >= self.claims.len() * in_block && !self.claim() {
            // Ports that have become free by now.
            self.next = 0;
        }
        let (block, at) = (self.next / in_block, self.next % in_block);
        self.next += 1;
        let (first, _) = self.claims.get(block).expect("a block of ports is free");
        first + 1 + at as u16
    }

    /// Claims another block; whether there is one.
    fn claim(&mut self) -> bool {
        let firsts = (0..BLOCKS).map(|block| FIRST + block * BLOCK);
        let free = firsts
            .filter_map(|first| Some((first, bind(first)?)))
            .next();
        let claimed = free.is_some();
        self.claims.extend(free);
        claimed
    }
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

/// A port of 127.0.0.1 that nobody listens on, and that no other test is given.
pub fn free_port() -> u16 {
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    (0..BLOCK * BLOCKS)
        .map(|_| ports.next())
        .find(|&port| bind(port).is_some())
        .expect("one of 20,000 ports is free")
}

/// A port of 127.0.0.1 that refuses connections.
pub fn closed_port() -> u16 {
    free_port()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_port_is_given_once_and_another_process_has_others() {
        let ports: HashSet<_> = (0..250).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 250);
        let mut other = Ports {
            claims: Vec::new(),
            next: 0,
        };
        let others: HashSet<_> = (0..250).map(|_| other.next()).collect();
        assert_eq!(others.len(), 250);
        assert!(ports.is_disjoint(&others));
    }
}
