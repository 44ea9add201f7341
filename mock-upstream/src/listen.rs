//! Listening sockets, one for each serving thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

const BACKLOG: i32 = 4096;

/// Opens `count` sockets on one address; the kernel spreads the connections over them. An address
/// that something else listens on is refused, even though the sockets could share it.
pub(crate) fn open_all(address: SocketAddr, count: NonZeroUsize) -> io::Result<Vec<TcpListener>> {
    if count.get() == 1 {
        return Ok(vec![open(address, false)?]);
    }
    if address.port() != 0 {
        open(address, false)?;
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count.get() {
        sockets.push(open(address, true)?);
    }
    Ok(sockets)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    #[test]
    fn sockets_share_one_port_among_themselves_only() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = open_all(any, TWO).expect("open");
        let address = sockets[0].local_addr().expect("address");
        assert_ne!(address.port(), 0);
        assert_eq!(sockets[1].local_addr().expect("address"), address);
        for count in [NonZeroUsize::MIN, TWO] {
            let error = open_all(address, count).expect_err("the address is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
