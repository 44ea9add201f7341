//! Content handlers of ours: answers that the module makes itself.

use ngx::ffi::{
    NGX_ERROR, NGX_OK, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_discard_request_body, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header, ngx_int_t,
};
use ngx::http::HttpModuleConfExt;

use super::conf::{Conf, ConfResult};
use super::guard;
use super::request::Request;

/// An answer of the module's own.
pub struct Answer {
    pub status: u16,
    pub media_type: &'static [u8],
    pub body: Vec<u8>,
}

/// What answers the requests of a location in place of an upstream.
pub trait Content: 'static {
    fn answer(request: Request<'_>) -> Answer;
}

impl Conf {
    /// Has `C` answer the requests of the location that is being read. The caller says
    /// so to the location's [`super::ContentHandler::own`].
    pub fn answer_by<C: Content>(&self) -> ConfResult {
        let core_module = &raw const ngx_http_core_module;
        // SAFETY: while a directive of a location is read, cf's context has the core
        // module's configuration of that location, and nobody else refers to it.
        unsafe {
            let core =
                (*self.0).http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(&*core_module);
            let mut core = core.ok_or("no http core module")?;
            core.as_mut().handler = Some(content_entry::<C>);
        }
        Ok(())
    }
}

unsafe extern "C" fn content_entry<C: Content>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls content handlers with a live request.
        let request = unsafe { Request::borrow(r) };
        // SAFETY: as above. The body, if any, is of no use here.
        let rc = unsafe { ngx_http_discard_request_body(r) };
        if rc != NGX_OK as ngx_int_t {
            return rc;
        }
        request.send(&C::answer(request))
    })
}

impl Request<'_> {
    /// Sends a whole answer; what a content handler returns after it.
    fn send(&self, answer: &Answer) -> ngx_int_t {
        let r = self.raw;
        // SAFETY: live request whose header has not been sent, as with any content
        // handler; the chain is in its pool.
        unsafe {
            (*r).headers_out.status = answer.status.into();
            self.announce_answer(answer.media_type, answer.body.len());
            let rc = ngx_http_send_header(r);
            let failed = rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t;
            if failed || (*r).header_only() != 0 {
                return rc;
            }
            let chain = self.chain_of(&answer.body, true);
            if chain.is_null() {
                return NGX_ERROR as ngx_int_t;
            }
            ngx_http_output_filter(r, chain)
        }
    }
}
