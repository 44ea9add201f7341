//! Connections that follow a script, and a transport that makes them.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use openai_core::redlock::NodeId;

use crate::transport::{Connection, GroupTimer, NodeEvent, Transport};

/// The result of the next read.
enum Step {
    Bytes(Vec<u8>),
    /// Nothing has arrived yet.
    Gap,
    End,
    Failure(io::ErrorKind),
}

#[derive(Default)]
struct Wire {
    connecting: bool,
    refused: bool,
    steps: VecDeque<Step>,
    /// The number of bytes that each of the next sends accepts; all if empty.
    takes: VecDeque<usize>,
    sent: Vec<u8>,
    closed: bool,
}

/// The remote end of a [`Scripted`] connection.
#[derive(Clone, Default)]
pub struct Far(Rc<RefCell<Wire>>);

impl Far {
    fn wire(&self) -> RefMut<'_, Wire> {
        self.0.borrow_mut()
    }

    pub fn connection(&self) -> Scripted {
        Scripted(self.clone())
    }

    /// Makes these bytes arrive. A read returns no more than them.
    pub fn sends(&self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref().to_vec();
        self.wire().steps.push_back(Step::Bytes(bytes));
    }

    /// Makes the bytes arrive one by one.
    pub fn sends_slowly(&self, bytes: &str) {
        for byte in bytes.bytes() {
            self.sends([byte]);
            self.wire().steps.push_back(Step::Gap);
        }
    }

    pub fn ends(&self) {
        self.wire().steps.push_back(Step::End);
    }

    pub fn fails(&self, kind: io::ErrorKind) {
        self.wire().steps.push_back(Step::Failure(kind));
    }

    /// Delays the connection until [`Far::accepts`].
    pub fn hesitates(&self) {
        self.wire().connecting = true;
    }

    pub fn accepts(&self) {
        self.wire().connecting = false;
    }

    pub fn refuses(&self) {
        self.wire().refused = true;
    }

    /// Limits the number of bytes that each of the next sends accepts.
    pub fn takes(&self, lengths: &[usize]) {
        self.wire().takes = lengths.iter().copied().collect();
    }

    /// The bytes received since the last call.
    pub fn received(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.wire().sent)).unwrap()
    }

    pub fn is_closed(&self) -> bool {
        self.wire().closed
    }
}

pub struct Scripted(Far);

impl Connection for Scripted {
    fn connected(&mut self) -> io::Result<bool> {
        let wire = self.0.wire();
        match wire.refused {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(!wire.connecting),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        let most = wire.takes.pop_front().unwrap_or(bytes.len());
        let taken = &bytes[..most.min(bytes.len())];
        wire.sent.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        match wire.steps.pop_front() {
            Some(Step::Bytes(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(buffer.len()));
                if !rest.is_empty() {
                    wire.steps.push_front(Step::Bytes(rest));
                }
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Some(Step::End) => Ok(0),
            Some(Step::Failure(kind)) => Err(kind.into()),
            Some(Step::Gap) | None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.0.wire().closed = true;
    }
}

/// A transport that makes scripted connections, and records log entries.
#[derive(Default)]
pub struct Bench {
    /// The remote ends of the connections made so far.
    pub made: Vec<Far>,
    /// Whether connecting fails at once.
    pub unreachable: bool,
    pub log: Vec<String>,
    pub now_us: u64,
}

impl Bench {
    pub fn last(&self) -> Far {
        self.made.last().unwrap().clone()
    }
}

impl Transport for Bench {
    type Target = &'static str;
    type Connection = Scripted;

    fn connect(&mut self, _target: &&'static str, _node: NodeId) -> io::Result<Scripted> {
        if self.unreachable {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let far = Far::default();
        self.made.push(far.clone());
        Ok(far.connection())
    }

    fn start(&mut self, _timer: GroupTimer, _after_ms: u64) {}

    fn clock_us(&self) -> u64 {
        self.now_us
    }

    fn log(&mut self, node: &str, event: NodeEvent<'_>) {
        self.log.push(match event {
            NodeEvent::Down { reason } => format!("{node} down: {reason}"),
            NodeEvent::Up => format!("{node} up"),
            NodeEvent::Failing { error } => format!("{node} failing: {}", error.as_str()),
            NodeEvent::Voting => format!("{node} voting"),
            NodeEvent::ClockJumped { by_ms } => format!("{node} clock: {by_ms}"),
        });
    }
}
