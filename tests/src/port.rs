//! Ports to listen on.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports of outgoing connections: between our look
/// and nginx's bind, no client can take the port.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that nobody listens on, given out once in this process.
pub fn free_port() -> u16 {
    // Suites that run side by side start from different places.
    let start = (process::id() % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|_| {
            let taken = TAKEN.fetch_add(1, Ordering::Relaxed) % COUNT;
            FIRST + (u32::from(start) * 37 + u32::from(taken)) as u16 % COUNT
        })
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("one of 20,000 ports is free")
}

/// A port of 127.0.0.1 that refuses connections.
pub fn closed_port() -> u16 {
    free_port()
}
