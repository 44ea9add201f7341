use core::ptr;

use ngx::ffi::{
    NGX_HTTP_VERSION_11, ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_cleanup_pt,
    ngx_pcalloc,
};

use crate::request::handle::Request;
use crate::text::{bytes_of, copy_into, lent};
use crate::upstream::abort::count_as_sent;

impl Request<'_> {
    /// The status of the answer.
    pub fn answer_status(&self) -> u16 {
        self.get().headers_out.status as u16
    }

    /// Whether nginx made the answer up for an error: the body is its own page.
    pub fn is_error_page(&self) -> bool {
        let r = self.get();
        let out = &r.headers_out;
        r.err_status >= 400
            && r.err_status == out.status
            && bytes_of(&out.content_type) == b"text/html"
            && out.last_modified_time == -1
            && out.etag.is_null()
            && !self.is_upstream_answer()
    }

    /// The media type of the answer, without parameters.
    pub(crate) fn answer_type(&self) -> &[u8] {
        let out = &self.get().headers_out;
        let whole = bytes_of(&out.content_type);
        whole.get(..out.content_type_len).unwrap_or(whole)
    }

    /// Whether the answer is an event stream.
    pub fn answers_events(&self) -> bool {
        self.answer_type()
            .eq_ignore_ascii_case(b"text/event-stream")
    }

    /// Has the body filter see all of the answer: parts that lie in files are read.
    /// Call it from the header filter.
    pub fn want_in_memory(&self) {
        // SAFETY: live request; as filters do that look into bodies.
        unsafe { (*self.raw).set_filter_need_in_memory(1) };
    }

    /// Whether the client has closed its connection, or takes nothing any more.
    pub fn client_is_gone(&self) -> bool {
        // SAFETY: a live request's connection.
        let connection = unsafe { &*self.get().connection };
        connection.error() != 0 || connection.timedout() != 0
    }

    /// Whether the client can tell where an answer of unknown length ends, or whether it
    /// has been cut off: by HTTP/1.1 and later.
    pub fn sees_end_of_answer(&self) -> bool {
        self.get().http_version >= NGX_HTTP_VERSION_11 as usize
    }

    /// The length of the answer, when it is known beforehand.
    pub fn answer_length(&self) -> Option<u64> {
        u64::try_from(self.get().headers_out.content_length_n).ok()
    }

    /// Gives the answer another type and length, from within the header filter.
    /// The body follows by [`crate::Filter::body`].
    pub fn announce_answer(&self, media_type: &'static [u8], length: usize) {
        // SAFETY: live request whose headers have not been sent; as the modules
        // that make answers of their own do. The fields are written through a raw pointer:
        // `forget_length` writes to the same structure.
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

    /// The body is going to be another one, from within the header filter: nobody knows
    /// its length, and no part of it can be asked for.
    pub fn body_changes(&self) {
        // SAFETY: live request whose header has not been sent; as nginx's own filters do
        // that change a body. The header is null or an element of the answer's list.
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

    /// The length of the answer is not known any more.
    ///
    /// # Safety
    /// Its header has not been sent.
    pub(crate) unsafe fn forget_length(&self) {
        // SAFETY: live request; the header is null or an element of the answer's list.
        unsafe {
            let out = &mut (*self.raw).headers_out;
            out.content_length_n = -1;
            if let Some(header) = out.content_length.as_mut() {
                header.hash = 0;
                out.content_length = ptr::null_mut();
            }
        }
    }

    /// A chain of one buffer with a copy of `bytes`.
    pub(crate) fn chain_of(&self, bytes: &[u8], last: bool) -> *mut ngx_chain_t {
        // SAFETY: live request; buffer and link come zeroed from its pool, and the
        // copied bytes live as long.
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

    /// Marks what was to be sent as sent.
    pub(crate) fn drop_pieces(&self, chain: *mut ngx_chain_t) {
        // SAFETY: a chain that nginx passed to a body filter.
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

    /// nginx's handler that finalizes the upstream, until it has been finalized.
    fn upstream_cleanup(&self) -> ngx_http_cleanup_pt {
        // SAFETY: `upstream` is null or in the request's pool. nginx sets its `cleanup` in
        // ngx_http_upstream_init_request, to a place in the request's list of cleanups, and to
        // null when it finalizes the upstream.
        unsafe { *self.get().upstream.as_ref()?.cleanup.as_ref()? }
    }

    /// Finalizes the upstream, if there is one, and keeps the request. The caller ends it.
    ///
    /// # Safety
    /// No reference to the upstream is used afterwards.
    pub(crate) unsafe fn cut_upstream(&self) {
        let r = self.raw;
        let Some(handler) = self.upstream_cleanup() else {
            return;
        };
        // SAFETY: live request. The handler, ngx_http_upstream_cleanup, finalizes the request
        // with NGX_DONE, which releases the reference that is taken here.
        unsafe {
            (*(*r).main).set_count((*(*r).main).count() + 1);
            handler(r.cast());
        }
    }
}
