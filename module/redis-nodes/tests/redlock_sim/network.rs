//! The virtual network from the clients' side: connections, and the timers of groups.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use openai_core::redlock::NodeId;
use redis_nodes::{Connection, GroupTimer, NodeEvent, Transport};

use crate::plan::Clock;

/// Number of bytes that a connection buffers before writing has to wait.
const WINDOW: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Open,
    Refused,
}

/// A connection, from both ends.
pub struct Socket {
    pub client: usize,
    /// The client's number of the node.
    pub node: NodeId,
    /// The simulation's number of the node.
    pub real: usize,
    pub state: State,
    pub arrived: VecDeque<u8>,
    /// Whether the end of the stream has been reached.
    pub ended: bool,
    pub written: Vec<u8>,
    /// Whether it accepted only a part of the bytes to write.
    pub is_full: bool,
    /// Whether the client has closed it.
    pub is_closed: bool,
}

/// An action of a client for the world to execute.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Connected(usize),
    Written(usize),
    Timer(GroupTimer, u64),
}

#[derive(Default)]
pub struct Network {
    pub now: u64,
    pub sockets: Vec<Socket>,
    pub deeds: Vec<Deed>,
}

pub type Shared = Rc<RefCell<Network>>;

/// The transport of one client.
pub struct Virtual {
    pub client: usize,
    pub clock: Clock,
    pub network: Shared,
}

impl Transport for Virtual {
    type Target = usize;
    type Connection = Wire;

    fn connect(&mut self, target: &usize, node: NodeId) -> io::Result<Wire> {
        let mut network = self.network.borrow_mut();
        let socket = network.sockets.len();
        network.sockets.push(Socket {
            client: self.client,
            node,
            real: *target,
            state: State::Pending,
            arrived: VecDeque::new(),
            ended: false,
            written: vec![],
            is_full: false,
            is_closed: false,
        });
        network.deeds.push(Deed::Connected(socket));
        Ok(Wire {
            socket,
            network: Rc::clone(&self.network),
        })
    }

    fn start(&mut self, timer: GroupTimer, after_ms: u64) {
        let deed = Deed::Timer(timer, after_ms);
        self.network.borrow_mut().deeds.push(deed);
    }

    fn clock_us(&self) -> u64 {
        self.clock.at(self.network.borrow().now) * 1_000
    }

    fn log(&mut self, _node: &str, _event: NodeEvent<'_>) {}
}

/// A client's end of a connection.
pub struct Wire {
    socket: usize,
    network: Shared,
}

impl Connection for Wire {
    fn connected(&mut self) -> io::Result<bool> {
        match self.network.borrow().sockets[self.socket].state {
            State::Pending => Ok(false),
            State::Open => Ok(true),
            State::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut network = self.network.borrow_mut();
        let socket = &mut network.sockets[self.socket];
        let taken = bytes.len().min(WINDOW - socket.written.len());
        socket.is_full |= taken < bytes.len();
        let was_empty = socket.written.is_empty();
        socket.written.extend_from_slice(&bytes[..taken]);
        if was_empty && taken > 0 {
            network.deeds.push(Deed::Written(self.socket));
        }
        Ok(taken)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut network = self.network.borrow_mut();
        let socket = &mut network.sockets[self.socket];
        if socket.arrived.is_empty() && !socket.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        socket.arrived.read(buffer)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.network.borrow_mut().sockets[self.socket].is_closed = true;
    }
}
