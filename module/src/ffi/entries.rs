//! The functions of ours that are known again by their address.
//!
//! The address of a generic function is neither unique nor always the same: it may be
//! compiled more than once, and equal functions may become one. So each address is taken
//! once, by a static of the module; nginx gets it from there, and so does who compares.

use core::ffi::c_void;

use ngx::ffi::{ngx_http_request_t, ngx_int_t};

use super::attempt::process_header_entry;
use super::handler::phase_entry;
use super::upstream::{Wrapped, content_entry, subrequest_entry};

pub(super) type Entry = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

type SubrequestEntry =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut c_void, ngx_int_t) -> ngx_int_t;

pub struct Entries {
    pub(super) precontent: Entry,
    pub(super) content: Entry,
    pub(super) process_header: Entry,
    pub(super) subrequest: SubrequestEntry,
}

impl Entries {
    /// For the one static of a module: see [`crate::export_module`].
    pub const fn of<M: Wrapped>() -> Self {
        Self {
            precontent: phase_entry::<M::Precontent>,
            content: content_entry::<M>,
            process_header: process_header_entry::<M>,
            subrequest: subrequest_entry::<M>,
        }
    }
}
