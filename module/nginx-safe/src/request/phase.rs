use ngx::ffi::{
    NGX_AGAIN, NGX_DECLINED, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_array_push, ngx_conf_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt,
    ngx_http_phases_NGX_HTTP_ACCESS_PHASE, ngx_http_phases_NGX_HTTP_LOG_PHASE,
    ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_http_request_t, ngx_int_t,
};
use ngx::http::HttpModuleConfExt;

use crate::config::entries::Entry;
use crate::config::parse::{Conf, ConfResult};
use crate::guard;
use crate::request::handle::{self, Request};

/// What nginx shall do after a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Nothing to say: go on with the next handler.
    Decline,
    /// Passed: under `satisfy any` no other access check is needed.
    Pass,
    /// Stand still until an event runs the phases again.
    Pause,
    /// Read the whole body, in memory or into a temporary file, then run the phase again.
    ReadBody,
    /// End with this status, by `error_page` if there is one for it.
    Answer(u16),
}

impl Flow {
    /// # Safety
    /// `r` must be the live request whose handler has said this, and nobody use it after.
    unsafe fn follow(self, r: *mut ngx_http_request_t) -> ngx_int_t {
        match self {
            // SAFETY: the caller's.
            Self::ReadBody => unsafe { handle::read_body(r) },
            Self::Decline => NGX_DECLINED as ngx_int_t,
            Self::Pass => NGX_OK as ngx_int_t,
            Self::Pause => NGX_AGAIN as ngx_int_t,
            Self::Answer(status) => status as ngx_int_t,
        }
    }
}

/// The phases that we have handlers in.
#[derive(Clone, Copy)]
pub enum Phase {
    /// After `limit_req`, where access is decided.
    Access,
    /// The last before content is made.
    Precontent,
    /// After the response.
    Log,
}

/// A handler of a phase.
pub trait PhaseHandler: 'static {
    /// The phase.
    const PHASE: Phase;
    /// Called with each request that reaches the phase.
    fn run(request: Request<'_>) -> Flow;
}

/// Adds a handler to a phase.
pub(crate) fn add(conf: &Conf, phase: Phase, entry: Entry) -> ConfResult {
    let phase = match phase {
        Phase::Access => ngx_http_phases_NGX_HTTP_ACCESS_PHASE,
        Phase::Precontent => ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE,
        Phase::Log => ngx_http_phases_NGX_HTTP_LOG_PHASE,
    };
    // SAFETY: called from postconfiguration, where the core module's main
    // configuration and its arrays of handlers exist.
    unsafe {
        let cf: *mut ngx_conf_t = conf.0;
        let core_module = &raw const ngx_http_core_module;
        let core = (*cf)
            .http_main_conf_unchecked::<ngx_http_core_main_conf_t>(&*core_module)
            .ok_or("no http core module")?;
        let handlers = &raw mut (*core.as_ptr()).phases[phase as usize].handlers;
        let place = ngx_array_push(handlers).cast::<ngx_http_handler_pt>();
        if place.is_null() {
            return Err("no memory".into());
        }
        *place = Some(entry);
    }
    Ok(())
}

pub(crate) unsafe extern "C" fn phase_entry<H: PhaseHandler>(
    r: *mut ngx_http_request_t,
) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls phase handlers with a live request, and does not use it when
        // they say that it goes on later.
        unsafe { H::run(Request::borrow(r)).follow(r) }
    })
}

/// Where a handler stands in the phases of a request's configuration.
///
/// # Safety
/// `r` must be live.
pub(crate) unsafe fn index_of(r: *mut ngx_http_request_t, own: Entry) -> Option<ngx_int_t> {
    // SAFETY: the engine's table ends with an entry without a checker.
    unsafe {
        let core_module = &raw const ngx_http_core_module;
        let main = *(*r).main_conf.add((*core_module).ctx_index);
        let mut entry = (*main.cast::<ngx_http_core_main_conf_t>())
            .phase_engine
            .handlers;
        let mut index = 0;
        while (*entry).checker.is_some() {
            if (*entry)
                .handler
                .is_some_and(|h| core::ptr::fn_addr_eq(h, own))
            {
                return Some(index);
            }
            entry = entry.add(1);
            index += 1;
        }
    }
    None
}
