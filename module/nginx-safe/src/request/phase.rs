use ngx::ffi::{
    NGX_AGAIN, NGX_DECLINED, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_array_push, ngx_conf_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt,
    ngx_http_phases_NGX_HTTP_ACCESS_PHASE, ngx_http_phases_NGX_HTTP_LOG_PHASE,
    ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_http_request_t, ngx_int_t,
};
use ngx::http::HttpModuleConfExt;

use crate::config::entries::Entry;
use crate::config::module::HttpModule;
use crate::config::parse::{Conf, ConfResult};
use crate::guard;
use crate::request::handle::{self, Request};

/// What nginx does after a phase handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Continue with the next handler.
    Decline,
    /// Skip the other handlers of the phase. In the ACCESS phase, they are only skipped with
    /// `satisfy any`.
    Pass,
    /// Stop the phases until [`Request::go_on`]. If the client closes its connection in the
    /// meantime, nginx ends the request.
    Wait,
    /// Keep waiting: the event that ran the phases changed nothing.
    Pause,
    /// Read the whole body, in memory or into a temporary file, then run the phase again.
    ReadBody,
    /// End the request with this status, and the `error_page` for it if there is one.
    Answer(u16),
}

impl Flow {
    /// # Safety
    /// `r` must be live and in the phase handler that returned this value, and not be used by the
    /// caller afterwards.
    unsafe fn follow(self, r: *mut ngx_http_request_t) -> ngx_int_t {
        match self {
            // SAFETY: the caller guarantees that nginx called a phase handler with this request
            // (Call), and that the handler returns this result.
            Self::ReadBody => unsafe { handle::read_body(r) },
            // SAFETY: the caller guarantees that nginx called a phase handler with this request
            // (Call), and that the handler returns this result.
            Self::Wait => unsafe { handle::park(r) },
            Self::Decline => NGX_DECLINED as ngx_int_t,
            Self::Pass => NGX_OK as ngx_int_t,
            Self::Pause => NGX_AGAIN as ngx_int_t,
            Self::Answer(status) => status as ngx_int_t,
        }
    }
}

/// The phases in which the module has handlers.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    /// Access checks; after `limit_req`.
    Access,
    /// The last phase before the content handler.
    Precontent,
    /// After the response has been sent.
    Log,
}

/// A handler of a phase before the content phase.
pub trait PhaseHandler: 'static {
    /// Called for each request that reaches the phase, and again when the request continues after
    /// [`Flow::Wait`] or [`Flow::ReadBody`].
    fn run(request: Request<'_>) -> Flow;
}

/// Adds a handler to a phase. Fails if memory runs out.
///
/// # Safety
/// Only in postconfiguration.
pub(crate) unsafe fn add(conf: &Conf, phase: Phase, entry: Entry) -> ConfResult {
    let phase = match phase {
        Phase::Access => ngx_http_phases_NGX_HTTP_ACCESS_PHASE,
        Phase::Precontent => ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE,
        Phase::Log => ngx_http_phases_NGX_HTTP_LOG_PHASE,
    };
    // SAFETY: in postconfiguration ngx_http_init_phases has made an array of handlers
    // for each phase, and ngx_http_init_phase_handlers reads them afterwards (Configuration).
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
        // SAFETY: nginx calls phase handlers with a live request (Call). ngx_http_core_access_phase
        // and ngx_http_core_generic_phase do not use it after a handler has returned NGX_AGAIN.
        unsafe { H::run(Request::borrow(r)).follow(r) }
    })
}

pub(crate) unsafe extern "C" fn log_entry<M: HttpModule>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls log handlers with a live request (Call).
    guard((), || M::ended(unsafe { Request::borrow(r) }));
    NGX_OK as ngx_int_t
}

/// The index of a handler in the phase engine's table; `None` if it is not in it.
///
/// # Safety
/// `r` must be live.
pub(crate) unsafe fn index_of(r: *mut ngx_http_request_t, own: Entry) -> Option<ngx_int_t> {
    // SAFETY: the caller guarantees that the request is live, so its main_conf has the core
    // module's configuration (Request). ngx_http_init_phase_handlers ends the table with an entry
    // without a checker, and does not change it afterwards.
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
