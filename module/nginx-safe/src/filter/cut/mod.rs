#[cfg(test)]
mod tests;

use core::ptr;

use ngx::ffi::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_pcalloc, ngx_pool_t,
};

use crate::filter::chain::in_memory;
use crate::guard;
use crate::text::copy_into;

/// What a [`Cutter`] is shown.
pub enum Part<'a> {
    /// What is in memory of a piece; what is left of it is to be moved to its front.
    Bytes(&'a mut [u8]),
    /// The body ends.
    End,
}

/// What is left of a [`Part`].
#[derive(Default)]
pub struct Left {
    /// What goes before it: what was held back of earlier ones.
    pub before: Vec<u8>,
    /// How many of its first bytes go.
    pub kept: usize,
}

/// Takes parts out of a body as it passes.
pub type Cutter<'a> = Box<dyn FnMut(Part<'_>) -> Left + 'a>;

/// A chain that is being made, of links of ours: filters must not change those that
/// they are passed.
struct Links {
    pool: *mut ngx_pool_t,
    first: *mut ngx_chain_t,
    last: *mut ngx_chain_t,
}

impl Links {
    /// # Safety
    /// A live pool, and a buffer that lives as long.
    unsafe fn add(&mut self, buffer: *mut ngx_buf_t) -> Option<()> {
        // SAFETY: a fresh link, and the last one before it.
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

/// Cuts the parts of a chain: what is left, null if that is nothing; `None` when memory
/// is short.
///
/// # Safety
/// A live request, and the chain that nginx passes to its body filters, of an answer
/// that is not buffered.
pub(crate) unsafe fn cut(
    r: *mut ngx_http_request_t,
    mut chain: *mut ngx_chain_t,
    mut cutter: Cutter<'_>,
) -> Option<*mut ngx_chain_t> {
    let mut cut = move |part: Part<'_>| guard(Left::default(), || cutter(part));
    // SAFETY: links are null-terminated and have buffers each. Bytes of an answer that
    // is not buffered lie in the buffer that nginx has read them into, for this request
    // alone; nginx sees by `pos` and `last` what is still to be sent of it. Bytes that lie
    // elsewhere, and may be read only, are copied.
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
                let Left { before, kept } = cut(Part::Bytes(bytes));
                (*buffer).last = (*buffer).pos.add(kept.min(length));
                if !before.is_empty() {
                    left.add(new_buffer(pool, &before, None)?)?;
                }
            }
            let behind = if ends { cut(Part::End).before } else { vec![] };
            // nginx takes no buffer in memory that is empty.
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
/// A live pool, and a buffer with bytes in memory.
unsafe fn copy_of(pool: *mut ngx_pool_t, buffer: &ngx_buf_t) -> Option<*mut ngx_buf_t> {
    // SAFETY: the caller's; buffer and copy come from the pool.
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

/// Frees the links that [`cut`] has made: nobody keeps links that are passed to filters.
///
/// # Safety
/// The request, and what `cut` has given for it, once it has been passed on.
pub(crate) unsafe fn forget(r: *mut ngx_http_request_t, mut chain: *mut ngx_chain_t) {
    // SAFETY: links of the request's pool; as ngx_free_chain does.
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
/// A live pool.
unsafe fn new_buffer(
    pool: *mut ngx_pool_t,
    bytes: &[u8],
    ends: Option<&ngx_buf_t>,
) -> Option<*mut ngx_buf_t> {
    // SAFETY: buffer and copy come from the pool; zeros are a buffer of nothing.
    unsafe {
        let buffer = ngx_pcalloc(pool, size_of::<ngx_buf_t>())
            .cast::<ngx_buf_t>()
            .as_mut()?;
        if !bytes.is_empty() {
            let text = copy_into(pool, bytes)?;
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
