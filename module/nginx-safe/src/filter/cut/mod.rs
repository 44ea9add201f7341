#[cfg(test)]
mod tests;

use core::ptr;

use ngx::ffi::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_pcalloc, ngx_pool_t,
};

use crate::filter::chain::in_memory;
use crate::guard;
use crate::text::copy_into;

/// The input of [`Filter::cut`](super::chain::Filter::cut).
pub enum BodyPart<'a> {
    /// The bytes of a buffer. The bytes that are kept are to be moved to the front.
    Bytes(&'a mut [u8]),
    /// The end of the body.
    End,
}

impl BodyPart<'_> {
    /// The result that removes nothing.
    pub fn unchanged(&self) -> Remainder {
        let kept = match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End => 0,
        };
        let before = vec![];
        Remainder { before, kept }
    }
}

/// The bytes to send in place of a [`BodyPart`], after parts of it have been taken out.
#[derive(Default)]
pub struct Remainder {
    /// Bytes to send first: those held back from earlier parts.
    pub before: Vec<u8>,
    /// Number of bytes at the front of the part that are sent.
    pub kept: usize,
}

/// A chain under construction. Its links are allocated here, because a filter must not change the
/// links that it is passed.
struct Links {
    pool: *mut ngx_pool_t,
    first: *mut ngx_chain_t,
    last: *mut ngx_chain_t,
}

impl Links {
    /// # Safety
    /// The pool must be live. `buffer` must live as long as the pool.
    unsafe fn add(&mut self, buffer: *mut ngx_buf_t) -> Option<()> {
        // SAFETY: the caller guarantees that the pool is live. ngx_alloc_chain_link returns null or
        // a link in it (Pool); `last` is null or a link that was added before.
        unsafe {
            let link = ngx_alloc_chain_link(self.pool);
            (*ptr::NonNull::new(link)?.as_ptr()).buf = buffer;
            (*link).next = ptr::null_mut();
            match self.last.as_mut() {
                Some(last) => last.next = link,
                None => self.first = link,
            }
            self.last = link;
        }
        Some(())
    }
}

/// Removes parts of a chain. Returns the rest, which is null if there is none; `None` if memory
/// runs out.
///
/// # Safety
/// `r` must be live, and `chain` be what nginx passes to its body filters, of a response that is
/// not buffered.
pub(crate) unsafe fn cut(
    r: *mut ngx_http_request_t,
    mut chain: *mut ngx_chain_t,
    cutter: impl Fn(BodyPart<'_>) -> Remainder,
) -> Option<*mut ngx_chain_t> {
    let cut = |part: BodyPart<'_>| guard(Remainder::default(), || cutter(part));
    // SAFETY: a chain ends with a null link, and each link has a buffer (Lists). nginx reads a
    // response that is not buffered into `u->buffer`, which belongs to this request alone, and
    // finds out from `pos` and `last` how much of it is still to be sent. `temporary` also marks
    // bytes that may be changed. All other bytes may be read-only, and are copied.
    unsafe {
        let pool = (*r).pool;
        let own = (*r).upstream.as_ref().map(|u| u.buffer.start..u.buffer.end);
        let mut left = Links {
            pool,
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        };
        while let Some(link) = chain.as_ref() {
            let mut buffer = link.buf;
            let writable = (*buffer).temporary() != 0
                || own.as_ref().is_some_and(|own| own.contains(&(*buffer).pos));
            if !writable && in_memory(&*buffer).is_some() {
                let copied = copy_of(pool, &*buffer)?;
                (*buffer).pos = (*buffer).last;
                buffer = copied;
            }
            let ends = (*buffer).last_buf() != 0 || (*buffer).last_in_chain() != 0;
            let had = in_memory(&*buffer);
            if let Some(length) = had {
                let bytes = core::slice::from_raw_parts_mut((*buffer).pos, length);
                let Remainder { before, kept } = cut(BodyPart::Bytes(bytes));
                (*buffer).last = (*buffer).pos.add(kept.min(length));
                if !before.is_empty() {
                    left.add(new_buffer(pool, &before, None)?)?;
                }
            }
            let behind = if ends {
                cut(BodyPart::End).before
            } else {
                vec![]
            };
            // nginx reports an error for an empty buffer in memory.
            let emptied = had.is_some() && in_memory(&*buffer).is_none();
            if emptied && ends {
                left.add(new_buffer(pool, &behind, Some(&*buffer))?)?;
            } else if !emptied && behind.is_empty() {
                left.add(buffer)?;
            } else if !emptied && had.is_none() {
                left.add(new_buffer(pool, &behind, None)?)?;
                left.add(buffer)?;
            } else if !emptied {
                let end = new_buffer(pool, &behind, Some(&*buffer))?;
                (*buffer).set_last_buf(0);
                (*buffer).set_last_in_chain(0);
                left.add(buffer)?;
                left.add(end)?;
            }
            chain = link.next;
        }
        Some(left.first)
    }
}

/// # Safety
/// The pool must be live, and `buffer` have bytes in memory.
unsafe fn copy_of(pool: *mut ngx_pool_t, buffer: &ngx_buf_t) -> Option<*mut ngx_buf_t> {
    // SAFETY: the caller guarantees the pool and the bytes. ngx_pcalloc returns null or zeroed
    // memory in that pool, where the copy is too (Pool, Zeroed).
    unsafe {
        let bytes = core::slice::from_raw_parts(buffer.pos, in_memory(buffer)?);
        let text = copy_into(pool, bytes)?;
        let place = ngx_pcalloc(pool, size_of::<ngx_buf_t>())
            .cast::<ngx_buf_t>()
            .as_mut()?;
        place.pos = text.data;
        place.last = text.data.add(text.len);
        place.start = place.pos;
        place.end = place.last;
        place.set_temporary(1);
        place.set_flush(buffer.flush());
        place.set_last_buf(buffer.last_buf());
        place.set_last_in_chain(buffer.last_in_chain());
        Some(place)
    }
}

/// Frees the links that [`cut`] has allocated. No filter keeps links that it was passed.
///
/// # Safety
/// `chain` must be the result of `cut` for the live request `r`, and have been passed on.
pub(crate) unsafe fn forget(r: *mut ngx_http_request_t, mut chain: *mut ngx_chain_t) {
    // SAFETY: the caller guarantees that `cut` made the links in the pool of the live request
    // (Pool). No filter keeps links that it was passed (Filters), so they can be added to the
    // pool's list of free links, as ngx_free_chain does.
    unsafe {
        while let Some(link) = chain.as_mut() {
            let next = link.next;
            link.next = (*(*r).pool).chain;
            (*(*r).pool).chain = chain;
            chain = next;
        }
    }
}

/// # Safety
/// The pool must be live.
unsafe fn new_buffer(
    pool: *mut ngx_pool_t,
    bytes: &[u8],
    ends: Option<&ngx_buf_t>,
) -> Option<*mut ngx_buf_t> {
    // SAFETY: the caller guarantees that the pool is live. ngx_pcalloc returns null or zeroed
    // memory in it (Pool), which is a valid buffer without bytes (Zeroed).
    unsafe {
        let text = match bytes {
            [] => None,
            bytes => Some(copy_into(pool, bytes)?),
        };
        let buffer = ngx_pcalloc(pool, size_of::<ngx_buf_t>())
            .cast::<ngx_buf_t>()
            .as_mut()?;
        if let Some(text) = text {
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
