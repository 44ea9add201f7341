use core::ptr;

use ngx::ffi::{
    NGX_HTTP_VERSION_11, ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_cleanup_pt,
    ngx_pcalloc,
};

use crate::request::handle::Request;
use crate::text::{bytes_of, copy_into, lent};
use crate::upstream::abort::count_as_sent;

impl Request<'_> {
    /// The status of the response.
    pub fn answer_status(&self) -> u16 {
        self.get().headers_out.status as u16
    }

    /// Whether the response is an error page that nginx has generated.
    pub fn is_error_page(&self) -> bool {
        let r = self.get();
        let out = &r.headers_out;
        r.err_status >= 400
            && r.err_status == out.status
            && self.whole_answer_type() == b"text/html"
            && out.last_modified_time == -1
            && out.etag.is_null()
            && !self.is_upstream_answer()
    }

    fn whole_answer_type(&self) -> &[u8] {
        // SAFETY: a type from the configuration, or in the pool of the request (Request).
        unsafe { bytes_of(&self.get().headers_out.content_type) }
    }

    /// The media type of the response, without parameters.
    pub(crate) fn answer_type(&self) -> &[u8] {
        let out = &self.get().headers_out;
        let whole = self.whole_answer_type();
        whole.get(..out.content_type_len).unwrap_or(whole)
    }

    /// Whether the response is an event stream.
    pub fn answers_events(&self) -> bool {
        self.answer_type()
            .eq_ignore_ascii_case(b"text/event-stream")
    }

    /// Makes nginx read the parts of the response that are in files, so that the body filter gets
    /// all bytes in memory. Call it from the header filter.
    pub fn want_in_memory(&self) {
        // SAFETY: a `Request` is live (see `Request`). Filters that read bodies set this flag in
        // their header filter; only the copy filter reads it.
        unsafe { (*self.raw).set_filter_need_in_memory(1) };
    }

    /// Whether the connection to the client has failed, or sending to the client has timed out.
    pub fn client_is_gone(&self) -> bool {
        // SAFETY: a `Request` is live, and its connection outlives it (Request). The reference is
        // not kept.
        let connection = unsafe { &*self.get().connection };
        connection.error() != 0 || connection.timedout() != 0
    }

    /// Whether the client can tell the end of a response of unknown length from an interrupted one.
    /// This needs HTTP/1.1 or later.
    pub fn sees_end_of_answer(&self) -> bool {
        self.get().http_version >= NGX_HTTP_VERSION_11 as usize
    }

    /// The length of the response in bytes, if it is known in advance.
    pub fn answer_length(&self) -> Option<u64> {
        u64::try_from(self.get().headers_out.content_length_n).ok()
    }

    /// Gives the response another media type and a length in bytes. Call it from the header filter;
    /// [`crate::Filter::body`] then provides the body.
    pub fn announce_answer(&self, media_type: &'static [u8], length: usize) {
        // SAFETY: a `Request` is live (see `Request`). nginx's modules set these fields before the
        // header is sent, and so does the caller. The static text outlives the request. The fields
        // are written through a raw pointer, because `forget_length` writes to the same struct.
        unsafe {
            let out = &raw mut (*self.raw).headers_out;
            (*out).content_type = lent(media_type);
            (*out).content_type_len = media_type.len();
            (*out).content_type_lowcase = ptr::null_mut();
            (*out).charset = lent(b"");
            self.forget_length();
            (*out).content_length_n = length as libc::off_t;
        }
    }

    /// Declares that the body will be changed: its length becomes unknown, and ranges of it cannot
    /// be requested. Call it from the header filter.
    pub fn body_changes(&self) {
        // SAFETY: a `Request` is live. `accept_ranges` is null or an element of the list of
        // response headers in its pool (Request). nginx's filters that change a body do the same
        // before the header is sent (ngx_http_clear_accept_ranges), and so does the caller.
        unsafe {
            (*self.raw).set_allow_ranges(0);
            let ranges = (*self.raw).headers_out.accept_ranges;
            if !ranges.is_null() {
                (*ranges).hash = 0;
                (*self.raw).headers_out.accept_ranges = ptr::null_mut();
            }
            self.forget_length();
        }
    }

    /// Makes the length of the response unknown.
    ///
    /// # Safety
    /// The header must not have been sent.
    pub(crate) unsafe fn forget_length(&self) {
        // SAFETY: a `Request` is live. `content_length` is null or an element of the list of
        // response headers in its pool (Request). ngx_http_clear_content_length does the same.
        unsafe {
            let out = &mut (*self.raw).headers_out;
            out.content_length_n = -1;
            if let Some(header) = out.content_length.as_mut() {
                header.hash = 0;
                out.content_length = ptr::null_mut();
            }
        }
    }

    /// A chain of one buffer with a copy of `bytes`; null if memory runs out. `last` marks the end
    /// of the body.
    pub(crate) fn chain_of(&self, bytes: &[u8], last: bool) -> *mut ngx_chain_t {
        // SAFETY: a `Request` is live, and so is its pool (Request). ngx_pcalloc and
        // ngx_alloc_chain_link return null or memory of that pool, the buffer zeroed (Pool); both
        // fields of the link are set.
        unsafe {
            let pool = (*self.raw).pool;
            let Some(text) = copy_into(pool, bytes) else {
                return ptr::null_mut();
            };
            let buffer = ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            let link = ngx_alloc_chain_link(pool);
            if buffer.is_null() || link.is_null() {
                return ptr::null_mut();
            }
            (*buffer).pos = text.data;
            (*buffer).start = text.data;
            (*buffer).last = text.data.add(text.len);
            (*buffer).end = (*buffer).last;
            (*buffer).set_memory(1);
            (*buffer).set_flush(1);
            if last {
                (*buffer).set_last_buf((self.raw == (*self.raw).main).into());
                (*buffer).set_last_in_chain(1);
            }
            (*link).buf = buffer;
            (*link).next = ptr::null_mut();
            link
        }
    }

    /// Marks the buffers of a chain as sent.
    ///
    /// # Safety
    /// `chain` must be what nginx passed to the body filter of this request: a chain or null.
    pub(crate) unsafe fn drop_pieces(&self, chain: *mut ngx_chain_t) {
        // SAFETY: the caller guarantees that nginx passed the chain to the body filter (Filters),
        // so it ends with null, and each link has a buffer (Lists).
        unsafe { count_as_sent(chain, ptr::null()) };
    }

    /// Whether the request has an upstream that nginx has not finalized.
    pub fn has_upstream(&self) -> bool {
        self.upstream_cleanup().is_some()
    }

    /// Whether the header of the response has been sent to the client.
    pub fn is_header_sent(&self) -> bool {
        self.get().header_sent() != 0
    }

    /// nginx's handler that finalizes the upstream; `None` if there is no upstream, or it has been
    /// finalized.
    fn upstream_cleanup(&self) -> ngx_http_cleanup_pt {
        // SAFETY: a `Request` is live, and `upstream` is null or in its pool (Upstream).
        // ngx_http_upstream_init_request sets its `cleanup` to the handler of an entry in
        // `r->cleanup`; ngx_http_upstream_finalize_request sets it to null.
        unsafe { *self.get().upstream.as_ref()?.cleanup.as_ref()? }
    }

    /// Finalizes the upstream, if there is one. Does not end the request; the caller does.
    ///
    /// # Safety
    /// No reference to the upstream may be used afterwards.
    pub(crate) unsafe fn cut_upstream(&self) {
        let r = self.raw;
        let Some(handler) = self.upstream_cleanup() else {
            return;
        };
        // SAFETY: a `Request` is live (see `Request`). The handler, ngx_http_upstream_cleanup,
        // finalizes the request with NGX_DONE, which releases the reference that is taken here
        // (References).
        unsafe {
            (*(*r).main).set_count((*(*r).main).count() + 1);
            handler(r.cast());
        }
    }
}
