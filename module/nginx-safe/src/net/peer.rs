//! Outgoing connections.
//!
//! # Guarantees
//!
//! The connection of a [`Peer`] is open from `connect` to Drop, or until the event loop ends. nginx
//! takes it from its list of free connections (ngx_get_connection), and gives it to nobody else
//! before ngx_close_connection. It does not close the connection itself: only connections that are
//! marked as idle or reusable are closed when connections run short or a worker shuts down, and
//! this crate marks none.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ngx::ffi::{
    NGX_AGAIN, NGX_OK, ngx_close_connection, ngx_connection_t, ngx_event_connect_peer,
    ngx_event_get_peer, ngx_event_t, ngx_handle_read_event, ngx_handle_write_event, ngx_int_t,
    ngx_peer_connection_t, ngx_str_t, sockaddr,
};

use crate::guard;
use crate::net::tls::{Tls, TlsSession};
use crate::process;
use crate::request::context;

/// NGX_ERROR_INFO of `ngx_connection_log_error_e`: errors of this connection are logged at level
/// `info`.
const NGX_ERROR_INFO: u32 = 2;

/// The address of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An outgoing connection on nginx's event loop. Dropping it closes it.
pub struct Peer {
    connection: NonNull<ngx_connection_t>,
    /// The callback. The connection's `data` points to it too.
    call: NonNull<PeerCall>,
    tls: Option<TlsSession>,
}

struct PeerCall {
    call: fn(u64),
    argument: u64,
}

impl Peer {
    /// Begins to connect, over TLS if `tls` is given. `call(argument)` is called when connecting
    /// has finished or failed, and whenever there is something to read or room to write. Use
    /// [`Peer::connected`] to find out.
    ///
    /// # Errors
    /// `Unsupported` where there is no event loop, and within [`Token::with`](crate::Token::with);
    /// otherwise the connection could not be started.
    pub fn connect(
        address: &Address,
        tls: Option<&Tls>,
        call: fn(u64),
        argument: u64,
    ) -> io::Result<Self> {
        // To get a connection, nginx may end other requests: see "Call" in the crate's comment.
        if !process::has_events() || context::is_borrowed() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let socket = address_of(address)?;
        let name = address.to_string();
        let mut name = ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        };
        // SAFETY: a zeroed ngx_peer_connection_t is valid (Zeroed). ngx_event_connect_peer reads
        // the address and the name during this call only. It returns a connection that stays
        // allocated to this code until ngx_close_connection (see `Peer`); its log is that of the
        // cycle, which this process runs until it ends (Cycle).
        unsafe {
            let mut peer: ngx_peer_connection_t = core::mem::zeroed();
            peer.sockaddr = (&raw const socket.storage).cast_mut().cast::<sockaddr>();
            peer.socklen = socket.length;
            peer.name = &raw mut name;
            peer.get = Some(ngx_event_get_peer);
            peer.log = process::cycle_log().as_ptr();
            // The caller logs errors; nginx's own message is only for level `info`.
            peer.set_log_error(NGX_ERROR_INFO);
            let rc = ngx_event_connect_peer(&raw mut peer);
            if rc != NGX_OK as ngx_int_t && rc != NGX_AGAIN as ngx_int_t {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let connection =
                NonNull::new(peer.connection).ok_or(io::ErrorKind::ConnectionRefused)?;
            let c = connection.as_ptr();
            let call = NonNull::from(Box::leak(Box::new(PeerCall { call, argument })));
            (*c).data = call.as_ptr().cast();
            (*(*c).read).handler = Some(event_entry);
            (*(*c).write).handler = Some(event_entry);
            if let Address::Tcp(_) = address {
                let on: libc::c_int = 1;
                let on_size = size_of::<libc::c_int>() as libc::socklen_t;
                let on = (&raw const on).cast::<c_void>();
                libc::setsockopt((*c).fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, on, on_size);
            }
            Ok(Self {
                connection,
                call,
                tls: tls.map(TlsSession::new),
            })
        }
    }

    fn raw(&self) -> *mut ngx_connection_t {
        self.connection.as_ptr()
    }

    /// The connection, as long as there is an event loop. Afterwards the end of the process closes
    /// it.
    fn open(&self) -> io::Result<*mut ngx_connection_t> {
        if process::has_events() {
            Ok(self.raw())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    }

    /// Whether the connection is ready for data; `Ok(false)` while that is undecided. Over TLS it
    /// is ready once the handshake has succeeded and the certificate has been verified.
    pub fn connected(&mut self) -> io::Result<bool> {
        let c = self.open()?;
        let shakes_hands = self.tls.as_ref().is_some_and(TlsSession::has_begun);
        if !shakes_hands && !self.is_reached()? {
            return Ok(false);
        }
        // SAFETY: `open` has checked that the event loop has not ended, so the connection is open
        // (see `Peer`); it is connected now.
        let handshake = |tls: &mut TlsSession| unsafe { tls.handshake(c) };
        self.tls.as_mut().map_or(Ok(true), handshake)
    }

    fn is_reached(&self) -> io::Result<bool> {
        // SAFETY: `connected` has called `open`, and the connection is open until Drop (see
        // `Peer`). The system writes the error number and its size; SO_ERROR is the result of
        // connect.
        unsafe {
            if (*(*self.raw()).write).ready() == 0 {
                return Ok(false);
            }
            let mut error: libc::c_int = 0;
            let mut size = size_of::<libc::c_int>() as libc::socklen_t;
            let place = (&raw mut error).cast::<c_void>();
            let fd = (*self.raw()).fd;
            if libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &raw mut size) != 0 {
                return Err(io::Error::last_os_error());
            }
            if error == 0 {
                Ok(true)
            } else {
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    fn error(&self, kind: io::ErrorKind) -> io::Error {
        let said = self.tls.as_ref().and_then(TlsSession::error);
        said.unwrap_or_else(|| kind.into())
    }

    /// Sends as many bytes as the socket accepts, and returns their number; zero if it accepts none
    /// at present.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let c = self.open()?;
        // SAFETY: the connection is open (see `Peer`). ngx_event_connect_peer and ngx_ssl_handshake
        // set `send`, which only reads `bytes`.
        unsafe {
            let send = (*c).send.ok_or(io::ErrorKind::NotConnected)?;
            let sent = send(c, bytes.as_ptr().cast_mut(), bytes.len());
            if sent == NGX_AGAIN as isize {
                if ngx_handle_write_event((*c).write, 0) != NGX_OK as ngx_int_t {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                return Ok(0);
            }
            usize::try_from(sent).map_err(|_| {
                if self.tls.is_some() {
                    // A TLS alert may have arrived with the reason why the peer closed the
                    // connection, such as a rejected certificate.
                    let _ = self.read(&mut [0]);
                }
                self.error(io::ErrorKind::BrokenPipe)
            })
        }
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let c = self.open()?;
        // SAFETY: the connection is open (see `Peer`). ngx_event_connect_peer and ngx_ssl_handshake
        // set `recv`, which writes at most the given length.
        unsafe {
            let recv = (*c).recv.ok_or(io::ErrorKind::NotConnected)?;
            let read = recv(c, buffer.as_mut_ptr(), buffer.len());
            if read == NGX_AGAIN as isize {
                if ngx_handle_read_event((*c).read, 0) != NGX_OK as ngx_int_t {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                return Err(io::ErrorKind::WouldBlock.into());
            }
            usize::try_from(read).map_err(|_| self.error(io::ErrorKind::ConnectionReset))
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !process::has_events() {
            // The process is ending. nginx's timer tree and queues may refer to events that have
            // been freed, so nothing is removed from them. What the connection refers to is leaked.
            core::mem::forget(self.tls.take());
            return;
        }
        // SAFETY: the connection is open until here (see `Peer`). ngx_close_connection removes its
        // events from nginx's timer tree and queues (Event loop), so that nothing refers to `call`
        // any more.
        unsafe {
            let c = self.raw();
            if let Some(tls) = &mut self.tls {
                tls.end(c);
            }
            ngx_close_connection(c);
            drop(Box::from_raw(self.call.as_ptr()));
        }
    }
}

pub(crate) unsafe extern "C" fn event_entry(event: *mut ngx_event_t) {
    // SAFETY: ngx_get_connection makes `data` of both events the connection, and `connect` makes
    // `data` of the connection the `PeerCall`. nginx calls no event of a closed connection, so the
    // `Peer` is open (Event loop). Both fields are copied first, because the callback may drop the
    // `Peer`.
    let (call, argument) = unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let call = (*connection).data.cast::<PeerCall>();
        ((*call).call, (*call).argument)
    };
    guard((), || call(argument));
}

struct Socket {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

fn address_of(address: &Address) -> io::Result<Socket> {
    // SAFETY: nginx is not involved. All-zero bytes are a valid sockaddr_storage, which the system
    // makes large and aligned enough for each type of address.
    unsafe {
        let mut storage: libc::sockaddr_storage = core::mem::zeroed();
        let place = &raw mut storage;
        let length = match address {
            Address::Tcp(SocketAddr::V4(v4)) => {
                let form = place.cast::<libc::sockaddr_in>();
                (*form).sin_family = libc::AF_INET as libc::sa_family_t;
                (*form).sin_port = v4.port().to_be();
                (*form).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            Address::Tcp(SocketAddr::V6(v6)) => {
                let form = place.cast::<libc::sockaddr_in6>();
                (*form).sin6_family = libc::AF_INET6 as libc::sa_family_t;
                (*form).sin6_port = v6.port().to_be();
                (*form).sin6_addr.s6_addr = v6.ip().octets();
                (*form).sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
            Address::Unix(path) => {
                let form = place.cast::<libc::sockaddr_un>();
                let bytes = path.as_os_str().as_bytes();
                if bytes.len() >= (*form).sun_path.len() {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                (*form).sun_family = libc::AF_UNIX as libc::sa_family_t;
                let text = (&raw mut (*form).sun_path).cast::<u8>();
                ptr::copy_nonoverlapping(bytes.as_ptr(), text, bytes.len());
                size_of::<libc::sockaddr_un>()
            }
        };
        Ok(Socket {
            storage,
            length: length as libc::socklen_t,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{ThreadStage, enter};
    use crate::testing::TestPool;

    unsafe extern "C" fn never(_: *mut ngx_connection_t, _: *mut u8, _: usize) -> isize {
        unreachable!("called after the event loop")
    }

    #[test]
    fn a_connection_is_not_used_once_the_event_loop_has_ended() {
        let pool = TestPool::new();
        let connection = NonNull::new(pool.zeros::<ngx_connection_t>()).expect("memory");
        // SAFETY: a fresh record.
        unsafe {
            (*connection.as_ptr()).recv = Some(never);
            (*connection.as_ptr()).send = Some(never);
        }
        let call = Box::leak(Box::new(PeerCall {
            call: |_| {},
            argument: 0,
        }));
        let mut peer = Peer {
            connection,
            call: NonNull::from(call),
            tls: None,
        };
        enter(ThreadStage::Ends);
        assert!(peer.connected().is_err());
        assert!(peer.send(b"a").is_err());
        assert!(peer.read(&mut [0]).is_err());
    }
}
