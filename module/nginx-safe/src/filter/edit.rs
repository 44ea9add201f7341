use core::cell::Cell;
use core::ops::Range;
use core::ptr;
use core::slice;
use std::cell::RefCell;
use std::rc::Rc;

use ngx::ffi::{ngx_buf_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_pool_t, ngx_str_t};

use crate::request::handle::Request;
use crate::text::copy_into;

/// What a piece of a body becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// These bytes of it stay.
    Keep(Range<usize>),
    /// The editor's text goes here.
    Insert,
}

/// Decides what the pieces of a body become; they come in order, cut at any byte.
pub trait Edits {
    /// Takes the next piece, and tells what it becomes.
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Edit));
}

/// An answer's body whose model gets another name as it passes.
///
/// Each buffer that comes is passed on as buffers of ours that point into it, and
/// counts as sent once they are: so a slow client slows the upstream down.
pub struct Editor {
    restorer: RefCell<Box<dyn Edits>>,
    /// What goes in the place of the model, in the request's pool.
    name: ngx_str_t,
    free: Cell<*mut ngx_chain_t>,
    busy: Cell<*mut ngx_chain_t>,
}

impl Request<'_> {
    /// Whether the answer's body is as its type says.
    pub fn answers_plainly(&self) -> bool {
        self.get().headers_out.content_encoding.is_null()
    }

    /// Whether the answer is one JSON document.
    pub fn answers_json(&self) -> bool {
        self.answer_type().eq_ignore_ascii_case(b"application/json")
    }

    /// Prepares for the body to be edited, from within the header filter: it comes in
    /// memory, and nobody knows its length. `name` is written as JSON. `None` when
    /// memory is short.
    pub fn edit_answer(&self, restorer: Box<dyn Edits>, name: &[u8]) -> Option<Rc<Editor>> {
        // SAFETY: live request whose header has not been sent.
        unsafe {
            let name = copy_into((*self.raw).pool, name)?;
            (*self.raw).set_filter_need_in_memory(1);
            self.body_changes();
            Some(Rc::new(Editor {
                restorer: RefCell::new(restorer),
                name,
                free: Cell::new(ptr::null_mut()),
                busy: Cell::new(ptr::null_mut()),
            }))
        }
    }
}

impl Editor {
    /// What a piece of the body becomes. `None` when memory is short.
    ///
    /// # Safety
    /// `chain` is what nginx has passed to the body filter of the live request whose
    /// pool this is.
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
        let mut restorer = self.restorer.try_borrow_mut().ok()?;
        // SAFETY: links are null-terminated and have buffers each. Data is in memory,
        // between `pos` and `last`: so the header filter has asked for.
        unsafe {
            while let Some(link) = chain.as_ref() {
                let theirs = link.buf;
                out.last = ptr::null_mut();
                let size = ((*theirs).last as usize).saturating_sub((*theirs).pos as usize);
                let mut complete = true;
                if size > 0 {
                    let piece = slice::from_raw_parts((*theirs).pos, size);
                    restorer.feed(piece, &mut |part| {
                        let (from, to) = match &part {
                            Edit::Keep(range) => {
                                let pos = (*theirs).pos;
                                (pos.add(range.start), pos.add(range.end))
                            }
                            Edit::Insert => (self.name.data, self.name.data.add(self.name.len)),
                        };
                        complete &= out.add(from, to).is_some();
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

    /// Notes what has been sent of `out`, and of what was before it.
    ///
    /// # Safety
    /// `out` is what `edited` made, and has been passed on.
    pub(crate) unsafe fn sent(&self, out: *mut ngx_chain_t) {
        // SAFETY: links and buffers of ours; a buffer that one of them stands for is
        // nginx's, and stays until it counts as sent.
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
                // One without data may still be on its way.
                if buffer.memory() != 0 {
                    (*sent).next = self.free.get();
                    self.free.set(sent);
                }
            }
            self.busy.set(busy);
        }
    }
}

/// The chain that goes on, in the making.
struct Chain {
    first: *mut ngx_chain_t,
    /// The last buffer that was made of the present one.
    last: *mut ngx_buf_t,
    free: *mut ngx_chain_t,
    pool: *mut ngx_pool_t,
}

impl Chain {
    /// # Safety
    /// A live pool, and bytes that live until they are sent.
    unsafe fn add(&mut self, from: *mut u8, to: *mut u8) -> Option<()> {
        // SAFETY: a link of ours, or a new one, with a buffer that nobody uses.
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

    /// Has the last buffer stand for nginx's own, with its flags.
    ///
    /// # Safety
    /// As for `add`; `theirs` lives until it counts as sent.
    unsafe fn end(&mut self, theirs: *mut ngx_buf_t) -> Option<()> {
        // SAFETY: as above.
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

/// Where the next link of a chain belongs.
///
/// # Safety
/// A null-terminated chain.
unsafe fn end_of(mut place: *mut *mut ngx_chain_t) -> *mut *mut ngx_chain_t {
    // SAFETY: the caller's.
    unsafe {
        while let Some(link) = (*place).as_mut() {
            place = &raw mut link.next;
        }
    }
    place
}
