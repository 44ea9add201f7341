//! One connection to a Redis node. Commands are sent in order, and replies arrive in the same
//! order.

use std::collections::VecDeque;
use std::io;

use openai_core::redlock::{
    Value,
    resp::{self, Sent},
};

use crate::transport::Connection;

/// Maximum number of commands whose replies are outstanding.
const MOST_WAITING: usize = 64 * 1024;
/// The number of bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Data received from a node.
pub enum Arrival<N> {
    /// The reply to the command with this name, and the microseconds since it was pushed.
    Reply(N, u64, Value),
    /// A message on a channel, which is not a reply.
    Message(Vec<Value>),
}

/// A command whose reply is outstanding.
struct Owing<N> {
    name: N,
    /// When it was pushed, in microseconds.
    sent_us: u64,
    /// The number of replies to combine, and those received so far. A single reply is not stored.
    parts: usize,
    come: Vec<Value>,
}

/// A connection with its outstanding commands. `N` is the caller's name for a command.
pub struct Link<C, N> {
    connection: C,
    /// A receive buffer. The first `filled` bytes contain data, of which `taken` bytes have been
    /// processed.
    arrived: Vec<u8>,
    filled: usize,
    taken: usize,
    out: Vec<u8>,
    sent: usize,
    waiting: VecDeque<Owing<N>>,
    connected: bool,
}

impl<C: Connection, N> Link<C, N> {
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            arrived: Vec::new(),
            filled: 0,
            taken: 0,
            out: Vec::new(),
            sent: 0,
            waiting: VecDeque::new(),
            connected: false,
        }
    }

    /// Appends packed commands; [`Link::flush`] sends them. If `commands` is more than one, their
    /// replies are combined into one array. Returns the name if too many replies are outstanding.
    pub fn push(&mut self, packed: &[u8], commands: usize, name: N, now_us: u64) -> Result<(), N> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(name);
        }
        self.out.extend_from_slice(packed);
        self.waiting.push_back(Owing {
            name,
            sent_us: now_us,
            parts: commands,
            come: Vec::with_capacity(if commands > 1 { commands } else { 0 }),
        });
        Ok(())
    }

    /// Sends as many bytes as the socket accepts.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.connected && !self.connection.connected()? {
            return Ok(());
        }
        self.connected = true;
        while self.sent < self.out.len() {
            let sent = self.connection.send(&self.out[self.sent..])?;
            if sent == 0 {
                return Ok(());
            }
            self.sent += sent;
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// The next reply or message; `None` if more must be received first.
    pub fn next(&mut self, now_us: u64) -> io::Result<Option<Arrival<N>>> {
        if !self.connected {
            return Ok(None);
        }
        loop {
            let read = resp::read(&self.arrived[self.taken..self.filled])
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let Some((sent, length)) = read else {
                if !self.receive()? {
                    return Ok(None);
                }
                continue;
            };
            self.taken += length;
            let arrival = match sent {
                // A server confirms SUBSCRIBE by a push message instead of a reply.
                Sent::Push(parts) if is_subscription(&parts) => self.answer(Value::Nil, now_us)?,
                Sent::Push(parts) => Some(Arrival::Message(parts)),
                Sent::Reply(value) => self.answer(value, now_us)?,
            };
            if arrival.is_some() {
                return Ok(arrival);
            }
        }
    }

    /// Receives more data; `false` if there is none at present.
    fn receive(&mut self) -> io::Result<bool> {
        self.arrived.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        if self.arrived.len() < self.filled + CHUNK / 2 {
            self.arrived.resize(self.filled + CHUNK, 0);
        }
        match self.connection.read(&mut self.arrived[self.filled..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => {
                self.filled += more;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Assigns a reply to the first outstanding command. Returns the result once the command's last
    /// reply has arrived.
    fn answer(&mut self, value: Value, now_us: u64) -> io::Result<Option<Arrival<N>>> {
        let Some(owing) = self.waiting.front_mut() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if owing.parts > 1 {
            owing.come.push(value);
            if owing.come.len() < owing.parts {
                return Ok(None);
            }
            let parts = std::mem::take(&mut owing.come);
            return Ok(self.answered(Value::Array(parts), now_us));
        }
        Ok(self.answered(value, now_us))
    }

    fn answered(&mut self, value: Value, now_us: u64) -> Option<Arrival<N>> {
        let Owing { name, sent_us, .. } = self.waiting.pop_front()?;
        Some(Arrival::Reply(name, now_us.saturating_sub(sent_us), value))
    }

    /// How many microseconds ago the command whose reply is next was pushed.
    pub fn owing_us(&self, now_us: u64) -> Option<u64> {
        let owing = self.waiting.front()?;
        Some(now_us.saturating_sub(owing.sent_us))
    }

    /// The names of the outstanding commands, after the connection has failed.
    pub fn into_waiting(self) -> impl Iterator<Item = N> {
        self.waiting.into_iter().map(|owing| owing.name)
    }
}

fn is_subscription(parts: &[Value]) -> bool {
    matches!(parts, [Value::Bytes(kind), ..] if kind == b"subscribe")
}
