use std::borrow::Cow;

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_http_discard_request_body, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_int_t,
};
use ngx::http::HttpModuleConfExt;

use crate::config::parse::{Conf, ConfResult};
use crate::config::registered;
use crate::guard;
use crate::request::handle::Request;

/// A response of the module itself.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `Content-Type`.
    pub media_type: &'static [u8],
    /// Further headers: names and values.
    pub headers: Vec<(&'static [u8], Cow<'static, str>)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

/// The content handler of locations with [`Conf::serve_content`].
pub trait Content: 'static {
    /// The response to a request, which has passed all earlier phases.
    fn answer(request: Request<'_>) -> Answer;
}

/// The error of a location with two content handlers.
pub(crate) const ANSWERED: &str = "another directive answers the requests of this location, too";

impl Conf {
    /// Makes the module answer the requests of the location being read, by [`Content::answer`].
    ///
    /// # Errors
    /// If the location already has a content handler.
    pub fn serve_content(&self) -> ConfResult {
        let entry = registered::entries().ok_or("no module")?.answer;
        let module = &raw const ngx_http_core_module;
        // SAFETY: a `Conf` is live (see `Conf`). In the callbacks that get one, cf->ctx is a
        // context of the http module, whose loc_conf has a configuration of the core module. There
        // is no other reference to it now (Configuration).
        unsafe {
            let core = (*self.0).http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(&*module);
            let mut core = core.ok_or("no http core module")?;
            let core = core.as_mut();
            if core.handler.is_some() {
                return Err(ANSWERED.into());
            }
            core.handler = Some(entry);
        }
        Ok(())
    }
}

impl<'a> Request<'a> {
    /// The request's `Content-Length` in bytes; `None` if it has none.
    pub fn announced_length(&self) -> Option<u64> {
        u64::try_from(self.get().headers_in.content_length_n).ok()
    }
}

pub(crate) unsafe extern "C" fn answer_entry<C: Content>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls content handlers with a live request, which holds a reference until
        // they return (Call). ngx_http_discard_request_body is called first, as by nginx's own
        // handlers, and does not finalize the request.
        unsafe {
            let rc = ngx_http_discard_request_body(r);
            if rc != NGX_OK as ngx_int_t {
                return rc;
            }
            let request = Request::borrow(r);
            send(request, &C::answer(request))
        }
    })
}

/// # Safety
/// The request must be live and in its content phase, and nothing of its response sent.
unsafe fn send(request: Request<'_>, answer: &Answer) -> ngx_int_t {
    let r = request.raw;
    request.announce_answer(answer.media_type, answer.body.len());
    for (name, value) in &answer.headers {
        request.add_answer_header(name, value.as_bytes());
    }
    // SAFETY: the caller guarantees that the request is live, and nothing of its response sent.
    // ngx_http_send_header and ngx_http_output_filter do not finalize the request. `chain` is in
    // its pool (Pool).
    unsafe {
        (*r).headers_out.status = usize::from(answer.status);
        let rc = ngx_http_send_header(r);
        if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t || (*r).header_only() != 0 {
            return rc;
        }
        let chain = request.chain_of(&answer.body, true);
        if chain.is_null() {
            return NGX_ERROR as ngx_int_t;
        }
        ngx_http_output_filter(r, chain)
    }
}
