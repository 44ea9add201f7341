//! One connection to one Redis node: commands go out in order, replies come back
//! in order.

use std::collections::VecDeque;
use std::io;

use openai_core::redlock::{
    Value,
    resp::{self, Sent},
};

use crate::transport::Connection;

/// What is sent and not answered may not grow past this.
const MOST_WAITING: usize = 64 * 1024;
/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// Something that has arrived.
pub enum Arrival<N> {
    /// The reply to the command of that name, and how many microseconds after it was pushed.
    Reply(N, u64, Value),
    /// Sent without being asked for: a message on a channel.
    Message(Vec<Value>),
}

/// A command whose reply is due.
struct Owing<N> {
    name: N,
    /// In microseconds.
    sent_us: u64,
    /// How many replies it takes, and those that have come; of one, none is kept.
    parts: usize,
    come: Vec<Value>,
}

/// A connection, with what is under way on it. `N` names a command to its sender.
pub struct Link<C, N> {
    connection: C,
    /// What has arrived: of this, so much, of which so much has been taken.
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

    /// Puts packed commands behind the others; [`Link::flush`] sends them. Of several
    /// the replies make one array. Gives the name back when too much is under way.
    pub fn push(&mut self, packed: &[u8], commands: usize, name: N, now_us: u64) -> Result<(), N> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(name);
        }
        self.out.extend_from_slice(packed);
        self.waiting.push_back(Owing {
            name,
            sent_us: now_us,
            parts: commands,
            come: Vec::new(),
        });
        Ok(())
    }

    /// Sends what the socket takes.
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

    /// Takes the next thing that has arrived, if there is one.
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
                // That a channel has been subscribed to is the answer to SUBSCRIBE.
                Sent::Push(parts) if is_subscription(&parts) => self.answer(Value::Nil, now_us)?,
                Sent::Push(parts) => Some(Arrival::Message(parts)),
                Sent::Reply(value) => self.answer(value, now_us)?,
            };
            if arrival.is_some() {
                return Ok(arrival);
            }
        }
    }

    /// Reads more; whether there was any.
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

    /// A reply to the command whose turn it is: the last one names it.
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

    /// For how many microseconds the next reply has been due.
    pub fn owing_us(&self, now_us: u64) -> Option<u64> {
        let owing = self.waiting.front()?;
        Some(now_us.saturating_sub(owing.sent_us))
    }

    /// What was under way when the connection broke.
    pub fn into_waiting(self) -> impl Iterator<Item = N> {
        self.waiting.into_iter().map(|owing| owing.name)
    }
}

fn is_subscription(parts: &[Value]) -> bool {
    matches!(parts, [Value::Bytes(kind), ..] if kind == b"subscribe")
}
