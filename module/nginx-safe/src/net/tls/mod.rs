//! TLS for connections that the module opens, with nginx's OpenSSL.
#![cfg_attr(
    not(ngx_feature = "ssl"),
    allow(dead_code, reason = "without SSL, no TlsContext can be created")
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

/// Settings of a TLS connection.
#[derive(Clone)]
pub struct Tls {
    /// Trusted authorities, and the client's certificate.
    pub context: TlsContext,
    /// The name that the peer's certificate must contain.
    pub name: TlsName,
}

/// The name that a certificate must contain.
#[derive(Clone)]
pub enum TlsName {
    /// A host name. It is also sent to the peer (SNI).
    Host(Rc<CStr>),
    /// An IP address.
    Address(Rc<CStr>),
}

impl TlsName {
    /// A host name or an IP address, 1 to 255 bytes long.
    pub fn new(name: &str) -> ConfResult<Self> {
        // SNI allows no longer names.
        let fits = (1..=255).contains(&name.len());
        let text = CString::new(name).ok().filter(|_| fits);
        let text = text.ok_or_else(|| format!("invalid name \"{name}\""))?;
        Ok(match name.parse::<IpAddr>() {
            Ok(_) => Self::Address(text.into()),
            Err(_) => Self::Host(text.into()),
        })
    }
}
