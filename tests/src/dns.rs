//! A DNS server on 127.0.0.1.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// A DNS server that has an `A` record for each name it knows, with a TTL of 0. It answers
/// `NXDOMAIN` for other names. Dropping it stops it.
pub struct Dns {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    names: Mutex<HashMap<String, Vec<Ipv4Addr>>>,
    is_silent: AtomicBool,
    ends: AtomicBool,
    asked: AtomicUsize,
}

impl Dns {
    /// Starts a server that knows no name.
    #[track_caller]
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP port is free");
        let port = socket.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || own.serve(&socket));
        Self {
            port,
            shared,
            thread: Some(thread),
        }
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the addresses of a name.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut names = self.shared.names.lock();
        let names = names.as_mut().unwrap_or_else(PoisonError::get_mut);
        names.insert(name.to_owned(), addresses.to_vec());
    }

    /// Sets whether the server answers nothing.
    pub fn silence(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// The number of queries received.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], (Ipv4Addr::LOCALHOST, self.port));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, socket: &UdpSocket) {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer(&query[..length]);
            if let Some(answer) = answer.filter(|_| !self.is_silent.load(Ordering::Relaxed)) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        const HEADER: usize = 12;
        const A: [u8; 2] = [0, 1];
        let mut at = HEADER;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.get(&labels.join("."));
        let addresses = known.filter(|_| query.get(at..at + 2) == Some(&A));
        let addresses = addresses.map(Vec::as_slice).unwrap_or_default();
        let mut answer = query.get(..2)?.to_vec();
        // A response, to a query that asks for recursion; 3 is NXDOMAIN.
        answer.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }]);
        let count = u16::try_from(addresses.len()).ok()?;
        answer.extend([0, 1]);
        answer.extend(count.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(query.get(HEADER..at + 4)?);
        for address in addresses {
            // The name of the question; A, IN; TTL; length.
            answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}
