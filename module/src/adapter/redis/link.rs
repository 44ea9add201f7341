//! One connection to one Redis node: commands go out in order, replies come back
//! in order.
//!
//! The redis crate packs commands and parses replies; the transport is nginx's.

use std::collections::VecDeque;
use std::io::{self, Read};

use redis::{Parser, RedisError, Value};

use crate::ffi::{Address, Peer, Tls};

/// What is sent and not answered may not grow past this.
const MOST_WAITING: usize = 64 * 1024;

/// A connection, with what is under way on it. `T` names a command to its sender.
pub struct Link<T> {
    peer: Peer,
    parser: Parser,
    out: Vec<u8>,
    sent: usize,
    waiting: VecDeque<(T, u64)>,
    connected: bool,
}

impl<T> Link<T> {
    pub fn connect(
        address: &Address,
        tls: Option<&Tls>,
        call: fn(u64),
        argument: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            peer: Peer::connect(address, tls, call, argument)?,
            parser: Parser::new(),
            out: Vec::new(),
            sent: 0,
            waiting: VecDeque::new(),
            connected: false,
        })
    }

    /// Puts a packed command behind the others; [`Link::flush`] sends it. Gives
    /// the name back when too much is under way.
    pub fn push(&mut self, packed: &[u8], name: T, now: u64) -> Result<(), T> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(name);
        }
        self.out.extend_from_slice(packed);
        self.waiting.push_back((name, now));
        Ok(())
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.connected && !self.peer.connected()? {
            return Ok(());
        }
        self.connected = true;
        while self.sent < self.out.len() {
            let sent = self.peer.send(&self.out[self.sent..])?;
            if sent == 0 {
                return Ok(());
            }
            self.sent += sent;
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Takes the next reply that has arrived, if there is one, with the time at
    /// which its command was sent.
    pub fn next_reply(&mut self) -> Result<Option<(T, u64, Value)>, RedisError> {
        if !self.connected {
            return Ok(None);
        }
        let mut reader = Arrived {
            peer: &mut self.peer,
            dry: false,
        };
        let value = match self.parser.parse_value(&mut reader) {
            Ok(value) => value,
            Err(_) if reader.dry => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.waiting.pop_front() {
            Some((name, sent)) => Ok(Some((name, sent, value))),
            None => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }

    /// When the command was sent whose reply is due next.
    pub fn oldest(&self) -> Option<u64> {
        self.waiting.front().map(|&(_, at)| at)
    }

    /// What was under way when the connection broke.
    pub fn into_waiting(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().map(|(name, _)| name)
    }
}

/// Reads what has arrived, and remembers that there was no more.
struct Arrived<'a> {
    peer: &'a mut Peer,
    dry: bool,
}

impl Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.peer.read(buffer);
        self.dry = matches!(&read, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        read
    }
}
