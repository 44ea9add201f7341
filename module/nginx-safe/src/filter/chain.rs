use core::cell::{Cell, OnceCell};
use core::ffi::CStr;
use core::ptr;
use std::rc::Rc;

use ngx::ffi::{
    NGX_AGAIN, NGX_DONE, NGX_ERROR, NGX_HTTP_MODULE, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_cycle,
    ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt, ngx_http_request_t,
    ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t, ngx_module_t,
};

use crate::config::registered;
use crate::filter::cut::{self, Cutter};
use crate::filter::edit::Editor;
use crate::guard;
use crate::request::handle::Request;

/// What a module sees of answers on their way to the client.
pub trait Filter: 'static {
    /// The status and headers are about to be sent; `false` if they are not to be, since
    /// [`Filter::client_left`] has said so.
    fn header(request: Request<'_>) -> bool;
    /// A piece of the body is about to be sent.
    fn body<'a>(request: Request<'a>, chunk: Chunk<'_>) -> Piece<'a>;
    /// A [`Piece::Last`] has been passed on, and what other filters have made of that.
    fn sent_last(request: Request<'_>);
    /// The client is gone; whether its answer is to be read to the end all the same. It
    /// then comes as [`Piece::Discard`].
    fn client_left(request: Request<'_>) -> bool;
}

/// A piece of a body, as it comes to the filter.
#[derive(Clone, Copy)]
pub struct Chunk<'a>(Option<&'a ngx_chain_t>);

impl<'a> Chunk<'a> {
    /// Whether nothing of it is in memory.
    pub fn is_empty(self) -> bool {
        self.parts().next().is_none()
    }

    /// Whether it is nothing but the end of the body.
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
            // SAFETY: the links of a chain are null-terminated, and each has a buffer.
            unsafe {
                next = link.next.as_ref();
                link.buf.as_ref()
            }
        })
    }

    /// What of it is in memory.
    pub fn parts(self) -> impl Iterator<Item = &'a [u8]> {
        self.buffers().filter_map(|buffer| {
            let length = in_memory(buffer)?;
            // SAFETY: such a buffer has initialised bytes from `pos` to `last`, which
            // stay while the filters run.
            Some(unsafe { core::slice::from_raw_parts(buffer.pos, length) })
        })
    }
}

/// How many bytes of a buffer are in memory, if there are any.
pub(crate) fn in_memory(buffer: &ngx_buf_t) -> Option<usize> {
    let length = (buffer.last as usize).saturating_sub(buffer.pos as usize);
    let held = buffer.temporary() | buffer.memory() | buffer.mmap() != 0;
    (held && length > 0).then_some(length)
}

/// What becomes of a piece of a body.
pub enum Piece<'a> {
    /// It goes on as it is.
    Keep,
    /// This goes in its place, as the whole body.
    Replace(Vec<u8>),
    /// It is dropped: its replacement has gone before.
    Drop,
    /// Parts of it are taken out, for answers only that nginx does not buffer; then it
    /// goes on as the editor makes it. What is cut may be the last one, as [`Piece::Last`].
    Edit(Option<Cutter<'a>>, Option<Rc<Editor>>, bool),
    /// Nothing is sent, and the request is left alone.
    Hold,
    /// It is dropped: the client is gone.
    Discard,
    /// The answer is cut off.
    Fail,
    /// It goes on as the last one: see [`Request::is_rest_of_answer`].
    Last,
    /// The end of a body whose last piece has gone as such.
    Ended,
}

thread_local! {
    /// Whether no other module's filter is before ours.
    static IS_FIRST: OnceCell<bool> = const { OnceCell::new() };
    static NEXT: Cell<(ngx_http_output_header_filter_pt, ngx_http_output_body_filter_pt)> =
        const { Cell::new((None, None)) };
}

/// Puts the filter on top of those that are there.
pub(crate) fn install<F: Filter>() {
    // SAFETY: called from postconfiguration, the time at which nginx has modules
    // put themselves on top of the chain; workers inherit both words by fork.
    unsafe {
        NEXT.set((ngx_http_top_header_filter, ngx_http_top_body_filter));
        ngx_http_top_header_filter = Some(header_entry::<F>);
        ngx_http_top_body_filter = Some(body_entry::<F>);
    }
}

impl Request<'_> {
    /// Whether this is the rest of an upstream's answer, which is not buffered: then it
    /// may go as [`Piece::Last`], in one write with the end of the body. nginx would send
    /// that end by a write of its own, once this has gone ([`Piece::Ended`]).
    pub fn is_rest_of_answer(&self, chunk: Chunk<'_>) -> bool {
        let r = self.get();
        // SAFETY: null or a live upstream.
        let Some(u) = (unsafe { r.upstream.as_ref() }) else {
            return false;
        };
        if u.length != 0 || u.buffering() != 0 || u.peer.connection.is_null() {
            return false;
        }
        // SAFETY: null or a chain of the upstream's.
        let all = Chunk(unsafe { u.out_bufs.as_ref() });
        let last = chunk.buffers().last().filter(|b| b.last_buf() == 0);
        let rest = last.zip(all.buffers().last());
        rest.is_some_and(|(last, of_all)| ptr::eq(last, of_all))
            // Of a part, the slice filter has more to come.
            && u.headers_in.status_n != 206
            && u.headers_in.trailers.part.nelts == 0
            && r.expect_trailers() == 0
            && !self.is_subrequest()
            && r.post_action() == 0
            // A filter before ours may have more to say at the end.
            && IS_FIRST.with(|is| *is.get_or_init(|| is_first(registered::record())))
    }
}

/// Those of nginx that are before every filter of a module that is added to it, and pass
/// on what lies in memory.
const BEFORE: [&CStr; 4] = [
    c"ngx_http_copy_filter_module",
    c"ngx_http_range_body_filter_module",
    c"ngx_http_not_modified_filter_module",
    c"ngx_http_slice_filter_module",
];

/// Whether no filter is before those of this module: what is last in nginx's list of
/// modules comes first.
///
/// The `index` of a module is not its position in that list, as dynamic modules are inserted.
fn is_first(ours: *const ngx_module_t) -> bool {
    let mut found = false;
    // SAFETY: the cycle that this process runs. nginx ends its list of modules with null;
    // the records are static and have names.
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

/// # Safety
/// A chain that nginx passes to body filters, of a main request.
unsafe fn mark_last(mut chain: *mut ngx_chain_t) {
    // SAFETY: links are null-terminated and have buffers each.
    unsafe {
        while let Some(link) = chain.as_ref() {
            if link.next.is_null() {
                (*link.buf).set_last_buf(1);
            }
            chain = link.next;
        }
    }
}

unsafe extern "C" fn header_entry<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls filters with a live request.
    let request = unsafe { Request::borrow(r) };
    if !guard(true, || F::header(request)) {
        request.discard_header();
        return NGX_OK as ngx_int_t;
    }
    match NEXT.get().0 {
        // SAFETY: the filter that was on top before ours.
        Some(next) => unsafe { next(r) },
        None => NGX_ERROR as ngx_int_t,
    }
}

unsafe extern "C" fn body_entry<F: Filter>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    // SAFETY: nginx calls filters with a live request.
    let request = unsafe { Request::borrow(r) };
    // SAFETY: null or a chain that nginx passes to its body filters.
    let seen = Chunk(unsafe { chain.as_ref() });
    let (came, mut chain, mut editor, mut cut_out) = (chain, chain, None, ptr::null_mut());
    let mut is_last = false;
    match guard(Piece::Keep, || F::body(request, seen)) {
        Piece::Keep => {}
        Piece::Replace(body) => {
            request.drop_pieces(chain);
            chain = request.chain_of(&body, true);
            if chain.is_null() {
                // The client has been told of a length.
                return NGX_ERROR as ngx_int_t;
            }
        }
        Piece::Drop => {
            request.drop_pieces(chain);
            chain = ptr::null_mut();
        }
        Piece::Edit(cutter, by, last) => {
            if last {
                // SAFETY: the chain that has come, of a main request.
                unsafe { mark_last(chain) };
                is_last = true;
            }
            if let Some(cutter) = cutter {
                // SAFETY: live request, and the chain that has come.
                let Some(left) = (unsafe { cut::cut(r, chain, cutter) }) else {
                    return NGX_ERROR as ngx_int_t;
                };
                if left.is_null() && !chain.is_null() {
                    // All is taken out, or held back.
                    return NGX_OK as ngx_int_t;
                }
                (chain, cut_out) = (left, left);
            }
            if let Some(by) = by {
                // SAFETY: as above.
                let edited = guard(None, || unsafe { by.edited((*r).pool, chain) });
                let Some(edited) = edited else {
                    return NGX_ERROR as ngx_int_t;
                };
                chain = edited;
                editor = Some(by);
            }
        }
        Piece::Hold => return NGX_DONE as ngx_int_t,
        Piece::Discard => {
            request.discard(chain);
            return NGX_OK as ngx_int_t;
        }
        Piece::Fail => return NGX_ERROR as ngx_int_t,
        Piece::Last => {
            // SAFETY: the chain that has come, of a main request.
            unsafe { mark_last(chain) };
            is_last = true;
        }
        Piece::Ended => {
            // SAFETY: a live request and its connection.
            let waits = unsafe { (*r).buffered() != 0 || (*(*r).connection).buffered() != 0 };
            return if waits { NGX_AGAIN } else { NGX_OK as i32 } as ngx_int_t;
        }
    }
    let rc = match NEXT.get().1 {
        // SAFETY: the filter that was on top before ours.
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    };
    if is_last {
        guard((), || F::sent_last(request));
    }
    if let Some(editor) = editor {
        // SAFETY: the chain that it has made, and that has just been passed on.
        unsafe { editor.sent(chain) };
    }
    // SAFETY: the links that have been made here, if any.
    unsafe { cut::forget(r, cut_out) };
    if rc == NGX_ERROR as ngx_int_t
        && request.may_be_drained()
        && guard(false, || F::client_left(request))
    {
        request.discard(came);
        return NGX_OK as ngx_int_t;
    }
    rc
}
