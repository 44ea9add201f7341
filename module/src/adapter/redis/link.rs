//! One connection to one Redis node: commands go out in order, replies come back
//! in order.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use nginx_safe::{Address, Peer, Tls};
use openai_core::redlock::{
    Value,
    resp::{self, Sent},
};

/// What is sent and not answered may not grow past this.
const MOST_WAITING: usize = 64 * 1024;
/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// Something that has arrived.
pub enum Arrival<T> {
    /// To the command of that name, and how long after it was pushed.
    Reply(T, Duration, Value),
    /// Sent without being asked for: a message on a channel.
    Message(Vec<Value>),
}

/// A command whose reply is due.
struct Owing<T> {
    name: T,
    sent: Instant,
    /// How many replies it takes, and those that have come; of one, none is kept.
    parts: usize,
    come: Vec<Value>,
}

/// A connection, with what is under way on it. `T` names a command to its sender.
pub struct Link<T> {
    peer: Peer,
    /// What has arrived: of this, so much, of which so much has been taken.
    arrived: Vec<u8>,
    filled: usize,
    taken: usize,
    out: Vec<u8>,
    sent: usize,
    waiting: VecDeque<Owing<T>>,
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
            arrived: Vec::new(),
            filled: 0,
            taken: 0,
            out: Vec::new(),
            sent: 0,
            waiting: VecDeque::new(),
            connected: false,
        })
    }

    /// Puts packed commands behind the others; [`Link::flush`] sends them. Of several
    /// the replies make one array. Gives the name back when too much is under way.
    pub fn push(&mut self, packed: &[u8], commands: usize, name: T) -> Result<(), T> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(name);
        }
        self.out.extend_from_slice(packed);
        self.waiting.push_back(Owing {
            name,
            sent: Instant::now(),
            parts: commands,
            come: Vec::new(),
        });
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
    pub fn next(&mut self) -> io::Result<Option<Arrival<T>>> {
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
                Sent::Push(parts) if is_subscription(&parts) => self.answer(Value::Nil)?,
                Sent::Push(parts) => Some(Arrival::Message(parts)),
                Sent::Reply(value) => self.answer(value)?,
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
        match self.peer.read(&mut self.arrived[self.filled..]) {
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
    fn answer(&mut self, value: Value) -> io::Result<Option<Arrival<T>>> {
        let Some(owing) = self.waiting.front_mut() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if owing.parts > 1 {
            owing.come.push(value);
            if owing.come.len() < owing.parts {
                return Ok(None);
            }
            let parts = std::mem::take(&mut owing.come);
            return Ok(self.answered(Value::Array(parts)));
        }
        Ok(self.answered(value))
    }

    fn answered(&mut self, value: Value) -> Option<Arrival<T>> {
        let Owing { name, sent, .. } = self.waiting.pop_front()?;
        Some(Arrival::Reply(name, sent.elapsed(), value))
    }

    /// How long the reply that comes next has been waited for.
    pub fn owing(&self) -> Option<Duration> {
        self.waiting.front().map(|owing| owing.sent.elapsed())
    }

    /// What was under way when the connection broke.
    pub fn into_waiting(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().map(|owing| owing.name)
    }
}

fn is_subscription(parts: &[Value]) -> bool {
    matches!(parts, [Value::Bytes(kind), ..] if kind == b"subscribe")
}
