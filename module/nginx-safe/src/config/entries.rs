//! Callbacks of the module that are recognised by their address.
//!
//! The address of a generic function is not unique: it may be compiled more than once, and equal
//! functions may be merged. Therefore a static of the module takes each address once. nginx gets
//! the address from that static, and comparisons use it too.

use core::ffi::c_void;

use ngx::ffi::{ngx_http_request_t, ngx_int_t};

use crate::request::content::answer_entry;
use crate::request::handle::Request;
use crate::request::phase::phase_entry;
use crate::upstream::attempt::process_header_entry;
use crate::upstream::wrap::{Wrapped, content_entry, subrequest_entry};

pub(crate) type Entry = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

type SubrequestEntry =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut c_void, ngx_int_t) -> ngx_int_t;

/// The callbacks of a module, each with a single address.
pub struct Entries {
    pub(crate) precontent: Entry,
    pub(crate) content: Entry,
    pub(crate) process_header: Entry,
    pub(crate) subrequest: SubrequestEntry,
    /// The content handler of locations that the module answers itself.
    pub(crate) answer: Entry,
    /// See [`Wrapped::enters_precontent`].
    pub(crate) enters_precontent: fn(Request<'_>),
}

impl Entries {
    /// Makes the value for the module's static: see [`crate::export_module`].
    pub const fn of<M: Wrapped>() -> Self {
        Self {
            precontent: phase_entry::<M::Precontent>,
            content: content_entry::<M>,
            process_header: process_header_entry::<M>,
            subrequest: subrequest_entry::<M>,
            answer: answer_entry::<M::Content>,
            enters_precontent: M::enters_precontent,
        }
    }
}
