//! Lookups of host names by nginx's resolver.
//!
//! # Guarantees
//!
//! ngx_resolve_start allocates a context. ngx_resolve_name either fails and frees the context
//! without calling the handler, or nginx calls the handler once: from within ngx_resolve_name, or
//! later from the event loop, after the timeout at the latest. The handler frees the context by
//! ngx_resolve_name_done. The name must not be moved before that.
//!
//! A lookup is never cancelled, because a handler that nginx is calling for one lookup must not
//! cancel another one. If a [`Lookup`] is dropped before the answer, the handler frees its state.

use core::ffi::CStr;
use core::ptr::{self, NonNull};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ngx::ffi::{
    NGX_OK, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_module,
    ngx_int_t, ngx_msec_t, ngx_resolve_name, ngx_resolve_name_done, ngx_resolve_start,
    ngx_resolver_addr_t, ngx_resolver_ctx_t, ngx_resolver_strerror, ngx_resolver_t, ngx_str_t,
};

use super::timer::Timer;
use crate::guard;
use crate::process;
use crate::request::context;

/// A lookup of a host name. Dropping it discards the answer.
pub struct Lookup {
    state: NonNull<State>,
}

struct State {
    name: Box<[u8]>,
    /// Whether nginx has yet to call the handler.
    is_pending: bool,
    /// Whether the [`Lookup`] was dropped before the answer.
    is_dropped: bool,
    answer: Option<io::Result<Vec<IpAddr>>>,
    /// Calls the caller back.
    answered: Timer,
}

impl Lookup {
    /// Begins to look up a name with the `resolver` of the `http` block; `None` if there is none.
    /// `call(argument)` is called when [`Lookup::answer`] has the answer, or an error after
    /// `timeout_ms`, and not before this function has returned.
    ///
    /// # Errors
    /// `Unsupported` where there is no event loop, and within [`Token::with`](crate::Token::with);
    /// otherwise the lookup could not be started.
    pub fn start(
        name: &str,
        timeout_ms: u64,
        call: fn(u64),
        argument: u64,
    ) -> io::Result<Option<Self>> {
        // To get a connection, nginx may end other requests: see "Call" in the crate's comment.
        if !process::has_events() || context::is_borrowed() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let Some(resolver) = resolver() else {
            return Ok(None);
        };
        let state = NonNull::from(Box::leak(Box::new(State {
            name: name.as_bytes().into(),
            is_pending: true,
            is_dropped: false,
            answer: None,
            answered: Timer::new(true, call, argument),
        })));
        let lookup = Self { state };
        // SAFETY: the resolver belongs to the cycle that this process runs until it ends (Cycle).
        // nginx writes lower case to the name, and the state with the name stays where it is until
        // the handler is called (see above). No reference to the state is held during the call.
        unsafe {
            let context = ngx_resolve_start(resolver.as_ptr(), ptr::null_mut());
            let is_started = !context.is_null() && {
                let place = state.as_ptr();
                let bytes: *mut [u8] = &raw mut *(*place).name;
                (*context).name = ngx_str_t {
                    len: bytes.len(),
                    data: bytes.cast(),
                };
                (*context).handler = Some(answer_entry);
                (*context).data = place.cast();
                // Without a timeout, the handler might never be called.
                (*context).timeout = timeout_ms.max(1) as ngx_msec_t;
                (*context).set_cancelable(1);
                ngx_resolve_name(context) == NGX_OK as ngx_int_t
            };
            if !is_started {
                (*state.as_ptr()).is_pending = false;
                return Err(io::Error::other(format!("{name} could not be looked up")));
            }
        }
        Ok(Some(lookup))
    }

    /// The addresses, in no particular order and at least one; `None` before the answer, and when
    /// it has been taken.
    pub fn answer(&mut self) -> Option<io::Result<Vec<IpAddr>>> {
        // SAFETY: the state is freed by Drop only, or by the handler after that; only nginx's
        // thread uses it (Thread), and a `Lookup` cannot be sent to another one.
        unsafe { (*self.state.as_ptr()).answer.take() }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let state = self.state.as_ptr();
        // SAFETY: the state is live, see `answer`. If nginx has yet to call the handler, that frees
        // the state; if the process ends before, the state is leaked.
        unsafe {
            (*state).is_dropped = true;
            if !(*state).is_pending {
                drop(Box::from_raw(state));
            }
        }
    }
}

/// The resolver of the `http` block, if it has one with an address.
fn resolver() -> Option<NonNull<ngx_resolver_t>> {
    let cycle = process::cycle().as_ptr();
    // SAFETY: nginx's configuration is only read while it is in force (Configuration, Cycle). It
    // has an http block if this crate's module runs, and otherwise the entry is null. The context
    // of the block has an entry for each HTTP module (Request). The resolver may be null, and has
    // an array of addresses, which is empty if nginx has made the resolver without a directive.
    unsafe {
        let block = *(*cycle).conf_ctx.add(ngx_http_module.index);
        let block = block.cast::<ngx_http_conf_ctx_t>().as_ref()?;
        let core = *block.loc_conf.add(ngx_http_core_module.ctx_index);
        let core = core.cast::<ngx_http_core_loc_conf_t>().as_ref()?;
        let resolver = NonNull::new(core.resolver)?;
        (resolver.as_ref().connections.nelts > 0).then_some(resolver)
    }
}

unsafe extern "C" fn answer_entry(context: *mut ngx_resolver_ctx_t) {
    guard((), || {
        // SAFETY: nginx calls this once with the context of `start`, whose `data` is the state. The
        // state is live until this call at least, see `Drop`. The result is copied before the
        // context is freed.
        unsafe {
            let state = (*context).data.cast::<State>();
            let answer = match (*context).state {
                0 => addresses((*context).addrs, (*context).naddrs),
                error => Err(said(error)),
            };
            ngx_resolve_name_done(context);
            (*state).is_pending = false;
            if (*state).is_dropped {
                drop(Box::from_raw(state));
                return;
            }
            (*state).answer = Some(answer);
            (*state).answered.soon();
        }
    });
}

fn said(error: ngx_int_t) -> io::Error {
    // SAFETY: ngx_resolver_strerror returns a static string for each number.
    let text = unsafe { CStr::from_ptr(ngx_resolver_strerror(error).cast()) };
    io::Error::other(text.to_string_lossy().into_owned())
}

/// # Safety
/// `found` must point to `count` addresses of nginx's resolver.
unsafe fn addresses(found: *const ngx_resolver_addr_t, count: usize) -> io::Result<Vec<IpAddr>> {
    // SAFETY: the caller guarantees the array. The family of a socket address determines its type;
    // it is aligned for it, as nginx itself casts it.
    let of = |at: usize| unsafe {
        let address = (*found.add(at)).sockaddr;
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = &*address.cast::<libc::sockaddr_in>();
                let bytes = v4.sin_addr.s_addr.to_ne_bytes();
                Some(IpAddr::V4(Ipv4Addr::from(bytes)))
            }
            libc::AF_INET6 => {
                let v6 = &*address.cast::<libc::sockaddr_in6>();
                Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    };
    let found: Vec<_> = (0..count).filter_map(of).collect();
    if found.is_empty() {
        return Err(io::Error::other("no address"));
    }
    Ok(found)
}
