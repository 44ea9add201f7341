//! Replacements for the TLS types where nginx is built without SSL. No value of them can be made.

use std::convert::Infallible;
use std::io;

use ngx::ffi::ngx_connection_t;

use super::Tls;
use crate::{Conf, ConfResult};

#[derive(Clone)]
pub struct TlsContext(Infallible);

impl TlsContext {
    pub fn new(_: &Conf) -> ConfResult<Self> {
        Err("this nginx was built without SSL".into())
    }

    pub fn verify(&self) {
        match self.0 {}
    }

    pub fn trust(&self, _: &Conf, _: &str) -> ConfResult {
        match self.0 {}
    }

    pub fn trust_system(&self) -> ConfResult {
        match self.0 {}
    }

    pub fn certificate(&self, _: &Conf, _: &str) -> ConfResult {
        match self.0 {}
    }

    pub fn key(&self, _: &Conf, _: &str) -> ConfResult {
        match self.0 {}
    }
}

pub(crate) struct TlsSession(Infallible);

impl TlsSession {
    pub fn new(tls: &Tls) -> Self {
        match tls.context.0 {}
    }

    pub fn has_begun(&self) -> bool {
        match self.0 {}
    }

    pub unsafe fn handshake(&mut self, _: *mut ngx_connection_t) -> io::Result<bool> {
        match self.0 {}
    }

    pub unsafe fn end(&mut self, _: *mut ngx_connection_t) {
        match self.0 {}
    }

    pub fn error(&self) -> Option<io::Error> {
        match self.0 {}
    }
}
