//! A connection to a node, whose host name is looked up before.

use std::cell::RefCell;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use nginx_safe::{Address, Lookup, Peer};
use openai_core::redlock::NodeId;
use redis_nodes::{Addresses, Connection};

use crate::config::NodeAddress;

/// How long to wait for the address of a host name, in milliseconds. The connection must be
/// complete within 2 s.
const LOOKUP_MS: u64 = 500;

/// The function to be called about a connection, and its argument.
type Callback = (fn(u64), u64);

/// A connection to a node.
pub struct NodeConnection {
    node: NodeId,
    addresses: Rc<RefCell<Addresses>>,
    /// The address in use, if it is one of TCP.
    address: Option<SocketAddr>,
    stage: Stage,
    /// Why the host name could not be looked up. The last known address is used then.
    unknown: Option<String>,
}

enum Stage {
    LooksUp {
        lookup: Lookup,
        target: NodeAddress,
        configured: SocketAddr,
        callback: Callback,
    },
    Connects(Peer),
}

impl NodeConnection {
    /// Looks up the node's host name, and then connects. Without a host name or without a
    /// `resolver`, connects at once.
    pub fn start(
        target: &NodeAddress,
        node: NodeId,
        addresses: &Rc<RefCell<Addresses>>,
        callback: Callback,
    ) -> io::Result<Self> {
        let (call, argument) = callback;
        let configured = match target.address {
            Address::Tcp(configured) => Some(configured),
            Address::Unix(_) => None,
        };
        let mut address = None;
        let stage = if let (Some(host), Some(configured)) = (&target.host, configured)
            && let Some(lookup) = Lookup::start(host, LOOKUP_MS, call, argument)?
        {
            Stage::LooksUp {
                lookup,
                target: target.clone(),
                configured,
                callback,
            }
        } else {
            if let Some(configured) = configured {
                reserve(addresses, node, configured)?;
            }
            address = configured;
            match Peer::connect(&target.address, target.tls.as_ref(), call, argument) {
                Ok(peer) => Stage::Connects(peer),
                Err(error) => {
                    release(addresses, node, address);
                    return Err(error);
                }
            }
        };
        Ok(Self {
            node,
            addresses: Rc::clone(addresses),
            address,
            stage,
            unknown: None,
        })
    }

    fn peer(&mut self) -> io::Result<&mut Peer> {
        match &mut self.stage {
            Stage::Connects(peer) => Ok(peer),
            Stage::LooksUp { .. } => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Connects to the address that was found; `false` while there is no answer.
    fn look_up(&mut self) -> io::Result<bool> {
        let Stage::LooksUp {
            lookup,
            target,
            configured,
            callback: (call, argument),
        } = &mut self.stage
        else {
            return Ok(true);
        };
        let Some(answer) = lookup.answer() else {
            return Ok(false);
        };
        let last = self.addresses.borrow().last(self.node, *configured);
        let mut address = last;
        match answer {
            Ok(found) => address.set_ip(choose(&found, last.ip())),
            Err(error) => {
                let host = target.host.as_deref().unwrap_or_default();
                self.unknown = Some(format!("{host} could not be looked up: {error}"));
            }
        }
        reserve(&self.addresses, self.node, address)?;
        self.address = Some(address);
        let address = Address::Tcp(address);
        let peer = Peer::connect(&address, target.tls.as_ref(), *call, *argument)?;
        self.stage = Stage::Connects(peer);
        Ok(true)
    }

    fn explained(&self, error: io::Error) -> io::Error {
        match &self.unknown {
            Some(unknown) => io::Error::other(format!("{error}; {unknown}")),
            None => error,
        }
    }
}

impl Drop for NodeConnection {
    fn drop(&mut self) {
        release(&self.addresses, self.node, self.address);
    }
}

fn reserve(addresses: &RefCell<Addresses>, node: NodeId, address: SocketAddr) -> io::Result<()> {
    match addresses.borrow_mut().reserve(node, address) {
        true => Ok(()),
        // Databases of one server are not independent.
        false => Err(io::Error::other("another node has the same address")),
    }
}

fn release(addresses: &RefCell<Addresses>, node: NodeId, address: Option<SocketAddr>) {
    if let Some(address) = address {
        addresses.borrow_mut().release(node, address);
    }
}

/// The address to use. All workers should choose the same: the resolver returns several addresses
/// in random order.
fn choose(found: &[IpAddr], last: IpAddr) -> IpAddr {
    if found.contains(&last) {
        return last;
    }
    found.iter().min().copied().unwrap_or(last)
}

impl Connection for NodeConnection {
    fn connected(&mut self) -> io::Result<bool> {
        let connected = match self.look_up() {
            Ok(true) => self.peer().and_then(Peer::connected),
            other => other,
        };
        if let (Ok(true), Some(address)) = (&connected, self.address) {
            self.addresses.borrow_mut().connected(self.node, address);
        }
        connected.map_err(|error| self.explained(error))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.peer()?.send(bytes)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.peer()?.read(buffer)
    }
}
