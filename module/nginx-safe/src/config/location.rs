//! Merging of location configurations, and their content handlers.

use core::cell::Cell;
use core::ffi::{c_char, c_void};

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_handler_pt};
use ngx::http::HttpModuleConfExt;

use crate::config::module::{HttpModule, LocationConf, report, the_module};
use crate::config::parse::{Conf, ConfResult};
use crate::config::tagged::{self, Tagged};
use crate::destination;
use crate::guard;
use crate::request::content::ANSWERED;
use crate::text::bytes_of;
use crate::upstream::wrap::Wrapped;

/// The `merge_loc_conf` callback: a location inherits from the level above, and its content handler
/// is known.
///
/// # Safety
/// To be called by nginx only, while it reads a configuration.
pub(crate) unsafe extern "C" fn merge_location<M: Wrapped>(
    cf: *mut ngx_conf_t,
    above: *mut c_void,
    own: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        let conf = Conf(cf);
        // SAFETY: nginx passes what create_loc_conf returned for two different levels, made by
        // `create`; it calls init_main_conf of a module before merge_loc_conf (Configuration).
        // ngx_http_merge_servers and ngx_http_merge_locations set cf->ctx->loc_conf to that of the
        // level being merged.
        let (notes_above, notes, above, own, main) = unsafe {
            (
                tagged::notes(above),
                tagged::notes(own),
                tagged::find::<M::Location>(above).map(|found| found.as_ref()),
                tagged::find::<M::Location>(own).map(|mut found| found.as_mut()),
                main_of_conf::<M>(cf),
            )
        };
        // SAFETY: nginx sets cf->ctx->loc_conf to that of the level being merged (Configuration).
        // The core module is an HTTP module, so it has an entry there.
        let core = unsafe {
            let core_module = &raw const ngx_http_core_module;
            (*cf).http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(&*core_module)
        };
        let (Some(above), Some(own), Some(main), Some(mut core)) = (above, own, main, core) else {
            return NGX_CONF_ERROR;
        };
        // SAFETY: ngx_http_core_create_loc_conf allocated this in the pool of the cycle. nginx
        // waits for this callback, so nothing else refers to it (Configuration).
        let is_continued = match check_handler::<M>(unsafe { core.as_ref() }, own) {
            Ok(is_continued) => is_continued,
            Err(message) => {
                report(&conf, Err(message.into()));
                return NGX_CONF_ERROR;
            }
        };
        if is_continued {
            own.continues(above);
        }
        let done = own.inherit(above, main, &conf);
        if let Some((notes, above)) = notes.zip(notes_above) {
            // SAFETY: nginx has allocated this, and nothing else refers to it while nginx waits for
            // this callback (Configuration). The reference that `check_handler` got is not used any
            // more.
            let core = unsafe { core.as_mut() };
            wrap_content::<M>(core, own, &notes.handler, &above.handler);
        }
        if notes.is_some_and(|notes| notes.handler.get().is_some()) {
            own.found_handler();
            // SAFETY: nginx sets cf->ctx->loc_conf to that of the level being merged. It merges
            // module by module, in the order of cycle->modules (Configuration), and the modules
            // that send requests come before this one there (see `export_module`).
            if let Some(name) = unsafe { destination::stated(cf) } {
                own.found_upstream(&name, main);
            }
        }
        if report(&conf, done) {
            NGX_CONF_OK
        } else {
            NGX_CONF_ERROR
        }
    })
}

/// The configuration of the `http` block that is being read.
///
/// # Safety
/// `cf` must be of the `http` block or within it; main configurations must be complete.
unsafe fn main_of_conf<'a, M: HttpModule>(cf: *mut ngx_conf_t) -> Option<&'a M::Main> {
    // SAFETY: the caller guarantees the position of `cf`. nginx keeps what `create` made in the
    // pool of the cycle, and passes it to no callback after init_main_conf, so it is only read
    // (Configuration).
    unsafe {
        let main = (*cf).http_main_conf_unchecked::<Tagged<M::Main>>(the_module::<M>())?;
        Some(tagged::find::<M::Main>(main.as_ptr().cast())?.as_ref())
    }
}

/// Checks that a location with [`Conf::serve_content`] has no other content handler. Returns
/// whether this is an `if` or `limit_except` block without a content handler of its own.
fn check_handler<M: Wrapped>(
    core: &ngx_http_core_loc_conf_t,
    own: &M::Location,
) -> ConfResult<bool> {
    let is_ours = |handler| core::ptr::fn_addr_eq(handler, M::entries().answer);
    match core.handler {
        Some(handler) if own.is_own() && !is_ours(handler) => {
            // SAFETY: ngx_http_core_location keeps the name in the pool of the cycle (Configuration).
            let name = String::from_utf8_lossy(unsafe { bytes_of(&core.name) });
            Err(format!("location \"{name}\": {ANSWERED}"))
        }
        handler => Ok(core.noname() != 0 && handler.is_none()),
    }
}

/// Notes the location's content handler, and replaces it with the wrapper if
/// [`LocationConf::is_wrapped`].
fn wrap_content<M: Wrapped>(
    core: &mut ngx_http_core_loc_conf_t,
    own: &M::Location,
    noted: &Cell<ngx_http_handler_pt>,
    above: &Cell<ngx_http_handler_pt>,
) {
    if own.is_own() {
        // For an `if` block without a handler, nginx keeps that of the location; for
        // `limit_except` it does not.
        if core.lmt_excpt() != 0 {
            core.handler = Some(M::entries().answer);
        }
        return;
    }
    let entry = M::entries().content;
    match core.handler {
        Some(theirs) if !core::ptr::fn_addr_eq(theirs, entry) => {
            noted.set(Some(theirs));
            if own.is_wrapped() {
                core.handler = Some(entry);
            }
        }
        // For an `if` block without a handler, nginx keeps that of the location. For a nested
        // location and a `limit_except` block it does not.
        _ if core.noname() != 0 && core.lmt_excpt() == 0 => {
            noted.set(above.get());
        }
        _ => {}
    }
}
