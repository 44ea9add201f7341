use core::cell::{Cell, OnceCell};
use core::ffi::CStr;
use core::ptr;

use ngx::ffi::{
    NGX_AGAIN, NGX_DONE, NGX_ERROR, NGX_HTTP_MODULE, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_cycle,
    ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt, ngx_http_request_t,
    ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t, ngx_module_t,
};

use crate::config::registered;
use crate::filter::cut::{self, BodyPart, Remainder};
use crate::guard;
use crate::request::context;
use crate::request::handle::Request;
use crate::upstream::attempt::AttemptState;

/// A header and body filter for responses to clients.
pub trait Filter: 'static {
    /// Called before the status and the headers are sent. Returns `false` if they are not to be
    /// sent because [`Filter::client_left`] has returned `true`.
    fn header(request: Request<'_>) -> bool;
    /// Called for each piece of the body before it is sent. Returns what to do with it.
    fn body(request: Request<'_>, chunk: Chunk<'_>) -> Piece;
    /// Removes parts of a body. Called after a [`Piece::Edit`] that asks for it, for each of its
    /// buffers in order, and at the end of the body.
    fn cut(request: Request<'_>, part: BodyPart<'_>) -> Remainder;
    /// Called after a [`Piece::Last`], or a [`Piece::Edit`] that is the last, has been passed to
    /// the next filter.
    fn sent_last(request: Request<'_>);
    /// Called when the client has closed its connection. Returns whether to read the rest of the
    /// response from the upstream nevertheless; its pieces then become [`Piece::Discard`].
    fn client_left(request: Request<'_>) -> bool;
}

/// A piece of a body: the chain that nginx passes to a body filter.
#[derive(Clone, Copy)]
pub struct Chunk<'a>(Option<&'a ngx_chain_t>);

impl<'a> Chunk<'a> {
    /// Whether no byte of it is in memory.
    pub fn is_empty(self) -> bool {
        self.parts().next().is_none()
    }

    /// Whether it consists only of the mark that ends the body.
    pub fn is_end(self) -> bool {
        let mut buffers = self.buffers();
        let first = buffers.next();
        first.is_some_and(|b| b.last_buf() != 0 && in_memory(b).is_none() && b.in_file() == 0)
            && buffers.next().is_none()
    }

    fn buffers(self) -> impl Iterator<Item = &'a ngx_buf_t> {
        let mut next = self.0;
        std::iter::from_fn(move || {
            let link = next?;
            // SAFETY: a chain ends with a null link, and each link has a buffer (Lists). nginx
            // frees neither while a body filter runs (Filters).
            unsafe {
                next = link.next.as_ref();
                link.buf.as_ref()
            }
        })
    }

    /// Its bytes that are in memory, one slice per buffer.
    pub fn parts(self) -> impl Iterator<Item = &'a [u8]> {
        self.buffers().filter_map(|buffer| {
            let length = in_memory(buffer)?;
            // SAFETY: the bytes of a buffer in memory are initialised from `pos` to `last` (Lists).
            // The sender of the buffer does not reuse them while a body filter runs (Filters).
            Some(unsafe { core::slice::from_raw_parts(buffer.pos, length) })
        })
    }
}

/// The number of bytes of a buffer that are in memory; `None` if there are none.
pub(crate) fn in_memory(buffer: &ngx_buf_t) -> Option<usize> {
    let length = (buffer.last as usize).saturating_sub(buffer.pos as usize);
    let held = buffer.temporary() | buffer.memory() | buffer.mmap() != 0;
    (held && length > 0).then_some(length)
}

/// What to do with a piece of a body.
pub enum Piece {
    /// Pass it on unchanged.
    Keep,
    /// Pass on these bytes instead, as the whole body.
    Replace(Vec<u8>),
    /// Drop it: a [`Piece::Replace`] has already replaced the whole body.
    Drop,
    /// Remove parts of it, then edit it as set by [`Request::edit_answer`], and pass on the rest.
    Edit {
        /// Whether to remove parts with [`Filter::cut`]. A response that nginx buffers then fails
        /// as with [`Piece::Fail`].
        cut: bool,
        /// Whether this is the last piece, as with [`Piece::Last`].
        last: bool,
    },
    /// Drop it: the client has closed its connection.
    Discard,
    /// Report an error to nginx, which closes the connection before the response is complete.
    Fail,
    /// Pass it on as the last piece: see [`Request::is_rest_of_answer`].
    Last,
    /// Drop it: it is the end of a body whose last piece has been passed on as [`Piece::Last`].
    Ended,
}

thread_local! {
    /// Whether no other module's filter runs before ours.
    static IS_FIRST: OnceCell<bool> = const { OnceCell::new() };
    static NEXT: Cell<(ngx_http_output_header_filter_pt, ngx_http_output_body_filter_pt)> =
        const { Cell::new((None, None)) };
}

/// Adds the filter at the front of the filter chain.
///
/// # Safety
/// Only in postconfiguration.
pub(crate) unsafe fn install<F: Filter>() {
    // SAFETY: in postconfiguration, modules add themselves at the front of the chain (Filters). Only nginx's thread uses these variables (Thread). Workers inherit
    // them when they are forked.
    unsafe {
        NEXT.set((ngx_http_top_header_filter, ngx_http_top_body_filter));
        ngx_http_top_header_filter = Some(header_entry::<F>);
        ngx_http_top_body_filter = Some(body_entry::<F>);
    }
}

impl Request<'_> {
    /// Whether the piece is the rest of an unbuffered upstream response. Such a piece can be passed
    /// on as [`Piece::Last`], so that it is sent in one write together with the end of the body.
    /// Otherwise nginx sends the end in a separate write afterwards ([`Piece::Ended`]).
    pub fn is_rest_of_answer(&self, chunk: Chunk<'_>) -> bool {
        let r = self.get();
        // SAFETY: a `Request` is live, and `upstream` is null or in its pool (Upstream).
        let Some(u) = (unsafe { r.upstream.as_ref() }) else {
            return false;
        };
        if u.length != 0 || u.buffering() != 0 || u.peer.connection.is_null() {
            return false;
        }
        // SAFETY: ngx_http_upstream_create zeroes `out_bufs`; nginx sets it to chains in the pool
        // of the request (Lists, Upstream).
        let all = Chunk(unsafe { u.out_bufs.as_ref() });
        let last = chunk.buffers().last().filter(|b| b.last_buf() == 0);
        let rest = last.zip(all.buffers().last());
        rest.is_some_and(|(last, of_all)| ptr::eq(last, of_all))
            // A 206 may be one of several parts: the slice filter sends more.
            && u.headers_in.status_n != 206
            && u.headers_in.trailers.part.nelts == 0
            && r.expect_trailers() == 0
            && !self.is_subrequest()
            && r.post_action() == 0
            // A filter that runs before ours may add bytes at the end.
            && IS_FIRST.with(|is| *is.get_or_init(|| is_first(registered::record())))
    }
}

/// The filters of nginx that always run before those of an added module, and add nothing to a body
/// in memory.
const BEFORE: [&CStr; 4] = [
    c"ngx_http_copy_filter_module",
    c"ngx_http_range_body_filter_module",
    c"ngx_http_not_modified_filter_module",
    c"ngx_http_slice_filter_module",
];

/// Whether no filter runs before those of this module. The filter of the module that is last in
/// nginx's list runs first.
///
/// The `index` of a module is not its position in that list, because dynamic modules are inserted.
fn is_first(ours: *const ngx_module_t) -> bool {
    let mut found = false;
    // SAFETY: ngx_cycle is the cycle that this process runs, and the request belongs to it (Cycle).
    // cycle->modules ends with null, and nginx sets the name of a module before it adds it there
    // (Modules).
    unsafe {
        let mut next = (*ngx_cycle).modules;
        while let Some(module) = (*next).as_ref() {
            let known = || BEFORE.contains(&CStr::from_ptr(module.name));
            if found && module.type_ == NGX_HTTP_MODULE as usize && !known() {
                return false;
            }
            found |= ptr::eq(module, ours);
            next = next.add(1);
        }
    }
    found
}

/// Sets `last_buf` on the last buffer of the chain, unless the request is a subrequest.
///
/// # Safety
/// `r` must be live, and `chain` be what nginx passes to its body filters.
unsafe fn mark_last(r: *mut ngx_http_request_t, mut chain: *mut ngx_chain_t) {
    // SAFETY: the caller guarantees that request and chain are live. A chain ends with a null link,
    // and each link has a buffer (Lists).
    unsafe {
        if r != (*r).main {
            return;
        }
        while let Some(link) = chain.as_ref() {
            if link.next.is_null() {
                (*link.buf).set_last_buf(1);
            }
            chain = link.next;
        }
    }
}

unsafe extern "C" fn header_entry<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls header filters with a live request (Call).
    guard(NGX_ERROR as ngx_int_t, || unsafe { pass_header::<F>(r) })
}

unsafe extern "C" fn body_entry<F: Filter>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    // SAFETY: nginx calls body filters with a live request, and a chain or null (Filters).
    guard(NGX_ERROR as ngx_int_t, || unsafe {
        pass_body::<F>(r, chain)
    })
}

/// # Safety
/// `r` must be a live request whose header nginx is about to send.
unsafe fn pass_header<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the caller guarantees that the request is live: nginx called the header filter with
    // it (Call).
    let request = unsafe { Request::borrow(r) };
    if let Some(state) = context::state(request) {
        // The editor belongs to an earlier response to this request.
        state.editor.take();
    }
    if !guard(true, || F::header(request)) {
        request.discard_header();
        return NGX_OK as ngx_int_t;
    }
    match NEXT.get().0 {
        // SAFETY: `next` is the filter that was at the front before ours; nginx keeps the functions
        // of filters as long as the modules are loaded. They take a live request (Filters).
        Some(next) => unsafe { next(r) },
        None => NGX_ERROR as ngx_int_t,
    }
}

/// # Safety
/// `r` must be live, and `chain` be what nginx passes to its body filters: a chain or null.
unsafe fn pass_body<F: Filter>(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: the caller guarantees that the request is live: nginx called the body filter with it
    // (Call).
    let request = unsafe { Request::borrow(r) };
    // SAFETY: the caller guarantees that nginx passed this to the body filter: a chain or null
    // (Filters).
    let seen = Chunk(unsafe { chain.as_ref() });
    // If nginx has finalized the upstream after a failure, `give_up` has stored how to continue.
    let see = || match request.take_attempt() {
        AttemptState::GivenUp(_) => None,
        AttemptState::Broken(words) => Some(Piece::Replace(words.to_vec())),
        _ => Some(F::body(request, seen)),
    };
    let Some(piece) = guard(Some(Piece::Keep), see) else {
        return NGX_DONE as ngx_int_t;
    };
    let (came, mut chain, mut editor, mut cut_out) = (chain, chain, None, ptr::null_mut());
    let mut is_last = false;
    match piece {
        Piece::Keep => {}
        Piece::Replace(body) => {
            // SAFETY: `chain` is what nginx passed to the body filter, and stays live until that
            // returns (Filters).
            unsafe { request.drop_pieces(chain) };
            chain = request.chain_of(&body, true);
            if chain.is_null() {
                // The client has received the announced length.
                return NGX_ERROR as ngx_int_t;
            }
        }
        Piece::Drop => {
            // SAFETY: `chain` is what nginx passed to the body filter, and stays live until that
            // returns (Filters).
            unsafe { request.drop_pieces(chain) };
            chain = ptr::null_mut();
        }
        Piece::Edit { cut, last } => {
            if last {
                // SAFETY: nginx passed `r` and `chain` to the body filter, and both stay live until
                // that returns (Filters).
                unsafe { mark_last(r, chain) };
                is_last = true;
            }
            if cut {
                if request.is_buffered() {
                    return NGX_ERROR as ngx_int_t;
                }
                // SAFETY: nginx passed `r` and `chain` to the body filter, and both stay live until
                // that returns (Filters). The response is not buffered.
                let left = unsafe { cut::cut(r, chain, |part| F::cut(request, part)) };
                let Some(left) = left else {
                    return NGX_ERROR as ngx_int_t;
                };
                if left.is_null() && !chain.is_null() {
                    // All bytes have been removed or are held back.
                    return NGX_OK as ngx_int_t;
                }
                (chain, cut_out) = (left, left);
            }
            if let Some(by) = request.editor() {
                // SAFETY: `chain` comes from nginx or from `cut`, and stays live until the body
                // filter returns (Filters). The editor belongs to this request, and so does the
                // pool.
                let edited = guard(None, || unsafe { by.edited((*r).pool, chain) });
                let Some(edited) = edited else {
                    return NGX_ERROR as ngx_int_t;
                };
                chain = edited;
                editor = Some(by);
            }
        }
        Piece::Discard => {
            // SAFETY: `chain` is what nginx passed to the body filter, and stays live until that
            // returns (Filters).
            unsafe { request.discard(chain) };
            return NGX_OK as ngx_int_t;
        }
        Piece::Fail => return NGX_ERROR as ngx_int_t,
        Piece::Last => {
            // SAFETY: nginx passed `r` and `chain` to the body filter, and both stay live until
            // that returns (Filters).
            unsafe { mark_last(r, chain) };
            is_last = true;
        }
        Piece::Ended => {
            // SAFETY: nginx called the body filter with a live request, whose connection outlives
            // it (Call, Request).
            let waits = unsafe { (*r).buffered() != 0 || (*(*r).connection).buffered() != 0 };
            return if waits { NGX_AGAIN } else { NGX_OK as i32 } as ngx_int_t;
        }
    }
    let rc = match NEXT.get().1 {
        // SAFETY: `next` is the filter that was at the front before ours. nginx's filters take a
        // live request, and a chain or null (Filters).
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    };
    if is_last {
        guard((), || F::sent_last(request));
    }
    if let Some(editor) = editor {
        // SAFETY: `chain` was made by `edited` of the same editor, in the pool of the request, and
        // has just been passed on (Pool).
        unsafe { editor.sent(chain) };
    }
    // SAFETY: `cut_out` is null, or was made by `cut` in the pool of this live request (Pool). It
    // has been passed on, and filters keep no links (Filters).
    unsafe { cut::forget(r, cut_out) };
    if rc == NGX_ERROR as ngx_int_t
        && request.may_be_drained()
        && guard(false, || F::client_left(request))
    {
        // SAFETY: `came` is what nginx passed to the body filter, and stays live until that returns
        // (Filters).
        unsafe { request.discard(came) };
        return NGX_OK as ngx_int_t;
    }
    rc
}
