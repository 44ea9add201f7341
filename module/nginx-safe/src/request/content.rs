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

/// An answer of our own.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `Content-Type`.
    pub media_type: &'static [u8],
    /// Other headers.
    pub headers: Vec<(&'static [u8], Cow<'static, str>)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

/// What answers the requests of a location in place of an upstream: see [`Conf::serve_content`].
pub trait Content: 'static {
    /// The answer to a request that has passed all phases before.
    fn answer(request: Request<'_>) -> Answer;
}

impl Conf {
    /// Has the location that is being read answered by the module.
    pub fn serve_content(&self) -> ConfResult {
        let entry = registered::entries().ok_or("no module")?.answer;
        let module = &raw const ngx_http_core_module;
        // SAFETY: cf is live and that of a location, all of which have the core
        // module's configuration; nobody else refers to it now.
        unsafe {
            let core = (*self.0).http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(&*module);
            let mut core = core.ok_or("no http core module")?;
            core.as_mut().handler = Some(entry);
        }
        Ok(())
    }
}

impl<'a> Request<'a> {
    /// How long the client says that its body is.
    pub fn announced_length(&self) -> Option<u64> {
        u64::try_from(self.get().headers_in.content_length_n).ok()
    }
}

pub(crate) unsafe extern "C" fn answer_entry<C: Content>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls content handlers with a live request; what is left of
        // its body is read and dropped, as by nginx's own handlers.
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
/// A live request in its content phase, of which nothing has been sent.
unsafe fn send(request: Request<'_>, answer: &Answer) -> ngx_int_t {
    let r = request.raw;
    request.announce_answer(answer.media_type, answer.body.len());
    for (name, value) in &answer.headers {
        request.add_answer_header(name, value.as_bytes());
    }
    // SAFETY: as the caller says.
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
