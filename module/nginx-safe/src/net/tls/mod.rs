//! TLS of our own connections, by nginx's OpenSSL.
#![cfg_attr(
    not(ngx_feature = "ssl"),
    allow(dead_code, reason = "nobody can make a context")
)]

#[cfg(not(ngx_feature = "ssl"))]
mod absent;
#[cfg(ngx_feature = "ssl")]
mod context;
#[cfg(ngx_feature = "ssl")]
mod session;

#[cfg(not(ngx_feature = "ssl"))]
pub use absent::TlsContext;
#[cfg(not(ngx_feature = "ssl"))]
pub(crate) use absent::TlsSession;
#[cfg(ngx_feature = "ssl")]
pub use context::TlsContext;
#[cfg(ngx_feature = "ssl")]
pub(crate) use session::TlsSession;

use std::ffi::{CStr, CString};
use std::net::IpAddr;
use std::rc::Rc;

use crate::ConfResult;

/// That TLS is to be spoken, and with whom.
#[derive(Clone)]
pub struct Tls {
    /// Certificates to trust and to show.
    pub context: TlsContext,
    /// The name that the peer must have.
    pub name: TlsName,
}

/// What the peer's certificate must be for.
#[derive(Clone)]
pub enum TlsName {
    /// It is told to the peer, too (SNI).
    Host(Rc<CStr>),
    /// An IP address.
    Address(Rc<CStr>),
}

impl TlsName {
    /// A host name or an IP address.
    pub fn new(name: &str) -> ConfResult<Self> {
        // A longer one cannot be told to the peer.
        let fits = (1..=255).contains(&name.len());
        let text = CString::new(name).ok().filter(|_| fits);
        let text = text.ok_or_else(|| format!("invalid name \"{name}\""))?;
        Ok(match name.parse::<IpAddr>() {
            Ok(_) => Self::Address(text.into()),
            Err(_) => Self::Host(text.into()),
        })
    }
}
