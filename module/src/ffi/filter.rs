use core::cell::Cell;
use core::ptr;

use ngx::ffi::{
    NGX_DONE, NGX_ERROR, NGX_OK, ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t,
    ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt, ngx_http_request_t,
    ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t, ngx_pcalloc,
};

use super::guard;
use super::request::Request;
use super::text::copy_into;

/// What a module sees of answers on their way to the client.
pub trait Filter: 'static {
    /// The status and headers are about to be sent.
    fn header(request: Request<'_>);
    /// A piece of the body is about to be sent.
    fn body<'a>(request: Request<'a>, chunk: Chunk<'_>) -> Piece<'a>;
}

/// A piece of a body, as it comes to the filter.
#[derive(Clone, Copy)]
pub struct Chunk<'a>(Option<&'a ngx_chain_t>);

impl<'a> Chunk<'a> {
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
fn in_memory(buffer: &ngx_buf_t) -> Option<usize> {
    let length = (buffer.last as usize).saturating_sub(buffer.pos as usize);
    let held = buffer.temporary() | buffer.memory() | buffer.mmap() != 0;
    (held && length > 0).then_some(length)
}

/// What an [`Editor`] is shown.
pub enum Part<'a> {
    /// What is in memory of a piece, to be changed in place.
    Bytes(&'a mut [u8]),
    /// The body ends.
    End,
}

/// What goes on of a [`Part`].
#[derive(Default)]
pub struct Edited {
    /// What goes before it.
    pub before: Vec<u8>,
    /// How many of its first bytes go.
    pub kept: usize,
}

/// Edits a body part by part.
pub type Editor<'a> = Box<dyn FnMut(Part<'_>) -> Edited + 'a>;

/// What becomes of a piece of a body.
pub enum Piece<'a> {
    /// It goes on as it is.
    Keep,
    /// This goes in its place, as the whole body.
    Replace(Vec<u8>),
    /// It is dropped: its replacement has gone before.
    Drop,
    /// Its parts go on as this makes them. For answers only that nginx does not buffer.
    Edit(Editor<'a>),
    /// Nothing is sent, and the request is left alone.
    Hold,
}

thread_local! {
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

unsafe extern "C" fn header_entry<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls filters with a live request.
    guard((), || F::header(unsafe { Request::borrow(r) }));
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
    let mut chain = chain;
    match guard(Piece::Keep, || F::body(request, seen)) {
        Piece::Keep => {}
        Piece::Replace(body) => chain = request.replacement(chain, Some(&body)),
        Piece::Drop => chain = request.replacement(chain, None),
        // SAFETY: the chain is the one that nginx passes.
        Piece::Edit(editor) => return unsafe { edited(r, chain, editor) },
        Piece::Hold => return NGX_DONE as ngx_int_t,
    }
    match NEXT.get().1 {
        // SAFETY: the filter that was on top before ours.
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}

/// Sends a chain on with its parts edited.
///
/// # Safety
/// A live request, and the chain that nginx passes to its body filters, of an answer
/// that is not buffered.
unsafe fn edited(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
    mut editor: Editor<'_>,
) -> ngx_int_t {
    let Some(next) = NEXT.get().1 else {
        return NGX_ERROR as ngx_int_t;
    };
    let mut first = ptr::null_mut();
    let mut end: *mut *mut ngx_chain_t = &raw mut first;
    let mut link = chain;
    // SAFETY: links are null-terminated and have buffers each. Bytes of an answer that
    // is not buffered lie in the buffer that nginx has read them into, for this request
    // alone; nginx sees by `pos` and `last` what is still to be sent of it. The links are
    // ours, as filters must not change those that they are passed, and nobody keeps them.
    unsafe {
        let mut add = |buffer: *mut ngx_buf_t| {
            let link = ngx_alloc_chain_link((*r).pool).as_mut()?;
            link.buf = buffer;
            link.next = ptr::null_mut();
            *end = link;
            end = &raw mut link.next;
            Some(())
        };
        while let Some(part) = link.as_ref() {
            let buffer = &mut *part.buf;
            let mut before = vec![];
            let was = in_memory(buffer);
            if let Some(length) = was {
                let bytes = core::slice::from_raw_parts_mut(buffer.pos, length);
                let edited = guard(Edited::default(), || editor(Part::Bytes(bytes)));
                buffer.last = buffer.pos.add(edited.kept.min(length));
                before = edited.before;
            }
            let ends = buffer.last_buf() != 0 || buffer.last_in_chain() != 0;
            if ends {
                before.extend(guard(Edited::default(), || editor(Part::End)).before);
            }
            let empties = was.is_some() && in_memory(buffer).is_none();
            let mut made = Some(());
            if !before.is_empty() || (empties && ends) {
                // nginx takes no buffer in memory that is empty: ours ends it instead.
                let ends = (empties && ends).then_some(&*buffer);
                made = new_buffer(r, &before, ends).and_then(&mut add);
            }
            if !empties {
                made = made.and_then(|()| add(buffer));
            }
            if made.is_none() {
                return NGX_ERROR as ngx_int_t;
            }
            link = part.next;
        }
        drop(editor);
        if first.is_null() && !chain.is_null() {
            // All is held back, or taken out.
            return NGX_OK as ngx_int_t;
        }
        let rc = next(r, first);
        while let Some(link) = first.as_mut() {
            first = link.next;
            link.next = (*(*r).pool).chain;
            (*(*r).pool).chain = link;
        }
        rc
    }
}

/// # Safety
/// A live request.
unsafe fn new_buffer(
    r: *mut ngx_http_request_t,
    bytes: &[u8],
    ends: Option<&ngx_buf_t>,
) -> Option<*mut ngx_buf_t> {
    // SAFETY: buffer and copy come from the request's pool.
    unsafe {
        let buffer = ngx_pcalloc((*r).pool, size_of::<ngx_buf_t>())
            .cast::<ngx_buf_t>()
            .as_mut()?;
        if !bytes.is_empty() {
            let text = copy_into((*r).pool, bytes)?;
            buffer.pos = text.data;
            buffer.last = text.data.add(text.len);
            buffer.start = buffer.pos;
            buffer.end = buffer.last;
            buffer.set_memory(1);
        }
        buffer.set_flush(1);
        if let Some(ends) = ends {
            buffer.set_last_buf(ends.last_buf());
            buffer.set_last_in_chain(ends.last_in_chain());
        }
        Some(buffer)
    }
}
