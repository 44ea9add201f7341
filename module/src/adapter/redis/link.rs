//! One connection to one Redis node: commands go out in order, replies come back
//! in order.
//!
//! The redis crate packs commands and parses replies; the transport is nginx's.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use redis::{Parser, PushKind, RedisError, Value};

use crate::ffi::{Address, Peer, Tls};

/// What is sent and not answered may not grow past this.
const MOST_WAITING: usize = 64 * 1024;

/// Something that has arrived.
pub enum Arrival<T> {
    /// To the command of that name, and how long after it was pushed.
    Reply(T, Duration, Value),
    /// Sent without being asked for: a message on a channel.
    Message(Vec<Value>),
}

/// A connection, with what is under way on it. `T` names a command to its sender.
pub struct Link<T> {
    peer: Peer,
    parser: Parser,
    out: Vec<u8>,
    sent: usize,
    waiting: VecDeque<(T, Instant)>,
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
    pub fn push(&mut self, packed: &[u8], name: T) -> Result<(), T> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(name);
        }
        self.out.extend_from_slice(packed);
        self.waiting.push_back((name, Instant::now()));
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

    /// Takes the next thing that has arrived, if there is one.
    pub fn next(&mut self) -> Result<Option<Arrival<T>>, RedisError> {
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
        if let Value::Push { kind, data } = value {
            // The answer to SUBSCRIBE is of this kind, too.
            if kind != PushKind::Subscribe {
                return Ok(Some(Arrival::Message(data)));
            }
            return self.answer(Value::Okay);
        }
        self.answer(value)
    }

    fn answer(&mut self, value: Value) -> Result<Option<Arrival<T>>, RedisError> {
        match self.waiting.pop_front() {
            Some((name, sent)) => Ok(Some(Arrival::Reply(name, sent.elapsed(), value))),
            None => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }

    /// How long the reply that comes next has been waited for.
    pub fn owing(&self) -> Option<Duration> {
        self.waiting.front().map(|(_, sent)| sent.elapsed())
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
