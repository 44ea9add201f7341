#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::ops::Range;
use core::ptr;
use core::slice;
use std::cell::RefCell;
use std::rc::Rc;

use ngx::ffi::{ngx_buf_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_pool_t, ngx_str_t};

use crate::filter::chain::in_memory;
use crate::request::context;
use crate::request::handle::Request;
use crate::text::copy_into;

/// A part of the output for a piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// These bytes of the piece, unchanged.
    Keep(Range<usize>),
    /// The text given to [`Request::edit_answer`].
    Insert,
}

/// Decides how to edit a body. Pieces come in order, and can begin and end at any byte. If a range
/// of [`Edit::Keep`] is not within the piece, the response fails.
pub trait Edits {
    /// Reads the next piece, and emits the parts of its output in order.
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Edit));
}

/// The editor of the response body of one request.
///
/// For each buffer from nginx, it passes on buffers that point into it. Once they have been sent,
/// it marks nginx's buffer as sent, so that a slow client slows down the upstream.
pub(crate) struct Editor {
    edits: RefCell<Box<dyn Edits>>,
    /// The text to insert, in the request's pool.
    text: ngx_str_t,
    free: Cell<*mut ngx_chain_t>,
    busy: Cell<*mut ngx_chain_t>,
}

impl Request<'_> {
    /// Whether the response body has no `Content-Encoding`.
    pub fn answers_plainly(&self) -> bool {
        self.get().headers_out.content_encoding.is_null()
    }

    /// Whether the response is one JSON document.
    pub fn answers_json(&self) -> bool {
        self.answer_type().eq_ignore_ascii_case(b"application/json")
    }

    /// Edits each [`Piece::Edit`](crate::Piece::Edit) of the body; `text` is what [`Edit::Insert`]
    /// inserts. Call it from the header filter: it makes nginx read the body into memory, and
    /// removes the response's length. `None` if memory runs out, or the request has no context.
    pub fn edit_answer(&self, edits: Box<dyn Edits>, text: &[u8]) -> Option<()> {
        let state = context::state(*self)?;
        // SAFETY: a `Request` is live, and so is its pool (Request).
        let text = unsafe { copy_into((*self.raw).pool, text)? };
        self.want_in_memory();
        self.body_changes();
        *state.editor.borrow_mut() = Some(Rc::new(Editor {
            edits: RefCell::new(edits),
            text,
            free: Cell::new(ptr::null_mut()),
            busy: Cell::new(ptr::null_mut()),
        }));
        Some(())
    }

    /// Whether [`Request::edit_answer`] was called for this response.
    pub fn is_edited(&self) -> bool {
        self.editor().is_some()
    }

    pub(crate) fn editor(&self) -> Option<Rc<Editor>> {
        context::state(*self)?.editor.borrow().clone()
    }
}

impl Editor {
    /// The edited form of a chain. `None` if memory runs out, or an edit is out of range.
    ///
    /// # Safety
    /// `chain` must be what nginx has passed to the body filter for a live request, and `pool` be
    /// the pool of that request.
    pub(crate) unsafe fn edited(
        &self,
        pool: *mut ngx_pool_t,
        mut chain: *mut ngx_chain_t,
    ) -> Option<*mut ngx_chain_t> {
        let mut out = Chain {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            free: self.free.get(),
            pool,
        };
        let mut edits = self.edits.try_borrow_mut().ok()?;
        // SAFETY: a chain ends with a null link, and each link has a buffer (Lists). The bytes of a
        // buffer that is in memory are initialised from `pos` to `last`, and its sender does not
        // reuse them before `pos` has reached `last` (Filters). Ranges outside of them are not
        // used.
        unsafe {
            while let Some(link) = chain.as_ref() {
                let theirs = link.buf;
                out.last = ptr::null_mut();
                let mut complete = true;
                if let Some(size) = in_memory(&*theirs) {
                    let piece = slice::from_raw_parts((*theirs).pos, size);
                    edits.feed(piece, &mut |part| {
                        let (data, length, range) = match part {
                            Edit::Keep(range) => ((*theirs).pos, size, range),
                            Edit::Insert => (self.text.data, self.text.len, 0..self.text.len),
                        };
                        complete &= range.start <= range.end
                            && range.end <= length
                            && out
                                .add(data.add(range.start), data.add(range.end))
                                .is_some();
                    });
                }
                if !complete || out.end(theirs).is_none() {
                    return None;
                }
                chain = link.next;
            }
        }
        self.free.set(out.free);
        Some(out.first)
    }

    /// Frees the buffers of `out`, and of earlier chains, that have been sent, and marks nginx's
    /// buffers behind them as sent.
    ///
    /// # Safety
    /// `out` must be the result of `edited`, and have been passed on.
    pub(crate) unsafe fn sent(&self, out: *mut ngx_chain_t) {
        // SAFETY: links and buffers in `busy` and `out` were made by `edited`, in the pool of the
        // request (Pool). `shadow` is null or a buffer of nginx; its sender keeps it until `pos`
        // has reached `last` (Filters).
        unsafe {
            let mut busy = self.busy.get();
            *end_of(&raw mut busy) = out;
            while let Some(link) = busy.as_mut() {
                let buffer = &mut *link.buf;
                if buffer.pos != buffer.last {
                    break;
                }
                if let Some(theirs) = buffer.shadow.as_mut() {
                    theirs.pos = theirs.last;
                    theirs.file_pos = theirs.file_last;
                }
                let sent = busy;
                busy = link.next;
                // A buffer without data may still be in use by a later filter.
                if buffer.memory() != 0 {
                    (*sent).next = self.free.get();
                    self.free.set(sent);
                }
            }
            self.busy.set(busy);
        }
    }
}

/// The output chain under construction.
struct Chain {
    first: *mut ngx_chain_t,
    /// The last buffer made for the current input buffer; null if there is none.
    last: *mut ngx_buf_t,
    free: *mut ngx_chain_t,
    pool: *mut ngx_pool_t,
}

impl Chain {
    /// # Safety
    /// The pool must be live. The bytes must live until they are sent.
    unsafe fn add(&mut self, from: *mut u8, to: *mut u8) -> Option<()> {
        // SAFETY: the caller guarantees that the pool is live. ngx_chain_get_free_buf returns null,
        // a link from `free`, which is not in use, or a new link in the pool (Pool); it sets the
        // link's buffer. A zeroed ngx_buf_t is valid (Zeroed).
        unsafe {
            let link = ngx_chain_get_free_buf(self.pool, &raw mut self.free).as_mut()?;
            let buffer = link.buf;
            ptr::write_bytes(buffer, 0, 1);
            (*buffer).pos = from;
            (*buffer).last = to;
            (*buffer).start = from;
            (*buffer).end = to;
            if from == to {
                (*buffer).set_sync(1);
            } else {
                (*buffer).set_memory(1);
            }
            link.next = ptr::null_mut();
            *end_of(&raw mut self.first) = link;
            self.last = buffer;
            Some(())
        }
    }

    /// Makes the last buffer stand for nginx's buffer `theirs`, with its flags.
    ///
    /// # Safety
    /// As for `add`; `theirs` must live until it is marked as sent.
    unsafe fn end(&mut self, theirs: *mut ngx_buf_t) -> Option<()> {
        // SAFETY: the caller guarantees the pool and `theirs`. `last` is null or a buffer that
        // `add` has made in the pool (Pool), so never the same as `theirs`.
        unsafe {
            if self.last.is_null() {
                self.add(ptr::null_mut(), ptr::null_mut())?;
            }
            let (ours, theirs) = (&mut *self.last, &mut *theirs);
            ours.set_flush(theirs.flush());
            ours.set_last_buf(theirs.last_buf());
            ours.set_last_in_chain(theirs.last_in_chain());
            ours.set_recycled(theirs.recycled());
            ours.shadow = theirs;
        }
        Some(())
    }
}

/// The position of the null link that ends a chain.
///
/// # Safety
/// `place` must point to a chain that ends with null.
unsafe fn end_of(mut place: *mut *mut ngx_chain_t) -> *mut *mut ngx_chain_t {
    // SAFETY: the caller guarantees a chain; its last link is followed by null (Lists).
    unsafe {
        while let Some(link) = (*place).as_mut() {
            place = &raw mut link.next;
        }
    }
    place
}
