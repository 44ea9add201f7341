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
use ngx::log::ngx_cycle_log;

use crate::guard;
use crate::net::tls::{Tls, TlsSession};

/// `ngx_connection_log_error_e`: errors of this connection are logged as info.
const NGX_ERROR_INFO: u32 = 2;

/// Where a peer listens.
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

/// A connection of ours on nginx's event loop. Dropping it closes it.
pub struct Peer {
    connection: NonNull<ngx_connection_t>,
    /// Whom to call; the connection's `data` points here, too.
    call: NonNull<Call>,
    tls: Option<TlsSession>,
}

struct Call {
    call: fn(u64),
    argument: u64,
}

impl Peer {
    /// Begins to connect, over TLS if it is given. `call(argument)` is called when that is done or has
    /// failed, and whenever there is something to read or room to write.
    pub fn connect(
        address: &Address,
        tls: Option<&Tls>,
        call: fn(u64),
        argument: u64,
    ) -> io::Result<Self> {
        let socket = address_of(address)?;
        let name = address.to_string();
        let mut name = ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        };
        // SAFETY: all-zero bits are a valid ngx_peer_connection_t; nginx reads the
        // address and the name during this call only. The connection it gives is
        // ours until ngx_close_connection.
        unsafe {
            let mut peer: ngx_peer_connection_t = core::mem::zeroed();
            peer.sockaddr = (&raw const socket.storage).cast_mut().cast::<sockaddr>();
            peer.socklen = socket.length;
            peer.name = &raw mut name;
            peer.get = Some(ngx_event_get_peer);
            peer.log = ngx_cycle_log().as_ptr();
            // What goes wrong is said once, by whom it concerns.
            peer.set_log_error(NGX_ERROR_INFO);
            let rc = ngx_event_connect_peer(&raw mut peer);
            if rc != NGX_OK as ngx_int_t && rc != NGX_AGAIN as ngx_int_t {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let connection =
                NonNull::new(peer.connection).ok_or(io::ErrorKind::ConnectionRefused)?;
            let c = connection.as_ptr();
            let call = NonNull::from(Box::leak(Box::new(Call { call, argument })));
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

    /// Whether it is connected: `Ok(false)` when that is not decided yet. Over TLS it is
    /// once the handshake is done, and the peer is who it should be.
    pub fn connected(&mut self) -> io::Result<bool> {
        let shakes_hands = self.tls.as_ref().is_some_and(TlsSession::has_begun);
        if !shakes_hands && !self.is_reached()? {
            return Ok(false);
        }
        let c = self.raw();
        // SAFETY: our connection, which has been established.
        let handshake = |tls: &mut TlsSession| unsafe { tls.handshake(c) };
        self.tls.as_mut().map_or(Ok(true), handshake)
    }

    fn is_reached(&self) -> io::Result<bool> {
        // SAFETY: an open connection; SO_ERROR tells how a connect has ended.
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

    /// Sends what the socket takes; zero when it takes nothing now.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        // SAFETY: an open connection, whose `send` nginx has set; it reads `bytes`
        // only.
        unsafe {
            let c = self.raw();
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
                    // Why the peer has left may have arrived: it did not like our
                    // certificate, say.
                    let _ = self.read(&mut [0]);
                }
                self.error(io::ErrorKind::BrokenPipe)
            })
        }
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: an open connection, whose `recv` nginx has set; it writes at most
        // the length given.
        unsafe {
            let c = self.raw();
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
        // SAFETY: ours, and open until here; nginx takes its events back, and nothing
        // refers to the call any more.
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
    // SAFETY: `data` of a connection's events is the connection, and its `data`
    // the box of an open Peer. Both words are copied out: the call may drop it.
    let (call, argument) = unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let call = (*connection).data.cast::<Call>();
        ((*call).call, (*call).argument)
    };
    guard((), || call(argument));
}

struct Socket {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

fn address_of(address: &Address) -> io::Result<Socket> {
    // SAFETY: all-zero bits are a valid sockaddr_storage; each form is written
    // into it where it fits, by its own definition.
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
