use core::ffi::c_void;
use core::ops::Range;
use core::ptr;
use std::rc::Rc;

use ngx::ffi::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_pcalloc,
    ngx_pool_cleanup_add, ngx_pool_t, off_t,
};

use crate::guard;
use crate::request::body::length;
use crate::request::context;
use crate::request::handle::Request;
use crate::text::copy_into;

/// A part of a request's body that goes upstream as something else.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Where it lies, in bytes from the start of the body.
    pub range: Range<u64>,
    /// What to send in its place.
    pub with: Rc<[u8]>,
}

impl Request<'_> {
    /// Has the body go upstream with these parts, none of which overlap, rewritten. The
    /// body itself, which any later attempt or location sees, is not touched.
    pub fn rewrite_body(&self, mut rewrites: Vec<Rewrite>) {
        // From behind, so that each lies where it did when those after it are done.
        rewrites.sort_by_key(|rewrite| core::cmp::Reverse(rewrite.range.start));
        if let Some(state) = context::state(self.raw) {
            *state.rewrites.borrow_mut() = rewrites;
        }
    }
}

/// The body as it goes upstream, for as long as the request to the upstream is made.
pub(crate) struct Rewritten {
    r: *mut ngx_http_request_t,
    theirs: off_t,
}

impl Rewritten {
    /// `None` when memory is short, or the file of the body cannot be mapped.
    ///
    /// # Safety
    /// `r` must be a live request, in the `create_request` of its upstream.
    pub(crate) unsafe fn new(r: *mut ngx_http_request_t, rewrites: &[Rewrite]) -> Option<Self> {
        // SAFETY: nginx has set request_bufs to the chain of the body, which
        // create_request copies the buffers of. What the new chain consists of is in
        // the request's pool.
        unsafe {
            let upstream = (*r).upstream.as_mut()?;
            let theirs = (*r).headers_in.content_length_n;
            let (mut chain, mut length) = (upstream.request_bufs, theirs);
            for rewrite in rewrites {
                chain = rewritten((*r).pool, chain, rewrite)?;
                let less = rewrite.range.end - rewrite.range.start;
                length += rewrite.with.len() as off_t - less as off_t;
            }
            if !upstream.request_bufs.is_null() && theirs >= 0 {
                (*r).headers_in.content_length_n = length;
            }
            upstream.request_bufs = chain;
            Some(Self { r, theirs })
        }
    }
}

impl Drop for Rewritten {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { (*self.r).headers_in.content_length_n = self.theirs }
    }
}

/// A chain like this one, with the rewritten part in a buffer of its own.
///
/// # Safety
/// A live pool, and a chain of a body that lives no shorter.
unsafe fn rewritten(
    pool: *mut ngx_pool_t,
    mut link: *mut ngx_chain_t,
    Rewrite { range, with, .. }: &Rewrite,
) -> Option<*mut ngx_chain_t> {
    let mut first = ptr::null_mut();
    let mut end: *mut *mut ngx_chain_t = &raw mut first;
    let mut at = 0;
    // SAFETY: links are null-terminated and have buffers each; `end` is the place of
    // the next link, in `first` or in the link before.
    unsafe {
        let mut add = |buffer: ngx_buf_t| {
            let link = ngx_alloc_chain_link(pool).as_mut()?;
            let place = ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            if place.is_null() {
                return None;
            }
            place.write(buffer);
            link.buf = place;
            link.next = ptr::null_mut();
            *end = link;
            end = &raw mut link.next;
            Some(())
        };
        while let Some(part) = link.as_ref() {
            let buffer = in_memory(pool, *part.buf)?;
            let size = length(&buffer);
            let (start, stop) = (at, at + size);
            if range.start < stop && range.end > start {
                if start < range.start {
                    add(slice(&buffer, 0, range.start - start, false))?;
                }
                if start <= range.start {
                    add(replacement(pool, with)?)?;
                }
                if range.end < stop {
                    add(slice(&buffer, range.end - start, size, true))?;
                }
            } else {
                add(slice(&buffer, 0, size, true))?;
            }
            at = stop;
            link = part.next;
        }
    }
    Some(first)
}

/// Bytes of a buffer in memory. nginx sends a buffer once more from its `start`.
fn slice(buffer: &ngx_buf_t, from: u64, to: u64, ends: bool) -> ngx_buf_t {
    let mut part = *buffer;
    // The last of a chunked body may have no memory at all.
    part.pos = buffer.pos.wrapping_add(from as usize);
    part.last = buffer.pos.wrapping_add(to as usize);
    part.start = part.pos;
    part.end = part.last;
    if !ends {
        part.set_last_buf(0);
        part.set_last_in_chain(0);
    }
    part
}

/// # Safety
/// A live pool.
unsafe fn replacement(pool: *mut ngx_pool_t, with: &[u8]) -> Option<ngx_buf_t> {
    // SAFETY: the copy lives as long as the pool; zeros are a buffer of nothing.
    unsafe {
        let text = copy_into(pool, with)?;
        let mut buffer: ngx_buf_t = core::mem::zeroed();
        buffer.pos = text.data;
        buffer.last = text.data.add(text.len);
        buffer.start = buffer.pos;
        buffer.end = buffer.last;
        buffer.set_memory(1);
        Some(buffer)
    }
}

/// A buffer whose bytes are in memory: those of a file are mapped. When nginx sends a
/// request once more (`proxy_next_upstream`), it takes a file from its first byte and
/// without gaps, so that no part of it could be left out.
///
/// # Safety
/// A live pool, and a buffer of a body that lives no shorter.
unsafe fn in_memory(pool: *mut ngx_pool_t, buffer: ngx_buf_t) -> Option<ngx_buf_t> {
    if buffer.in_file() == 0 || length(&buffer) == 0 {
        return Some(buffer);
    }
    // SAFETY: a buffer in a file has a file, open for as long as the request; nobody
    // else writes to a body's temporary file, or cuts it. The cleanup undoes the
    // mapping with the request.
    unsafe {
        let cleanup = ngx_pool_cleanup_add(pool, size_of::<Mapping>()).as_mut()?;
        let size = buffer.file_last as usize;
        let fd = buffer.file.as_ref()?.fd;
        let flags = libc::MAP_PRIVATE;
        let start = libc::mmap(ptr::null_mut(), size, libc::PROT_READ, flags, fd, 0);
        if start == libc::MAP_FAILED {
            return None;
        }
        cleanup
            .data
            .cast::<Mapping>()
            .write(Mapping { start, size });
        cleanup.handler = Some(unmap);
        let mut mapped = buffer;
        mapped.pos = start.cast::<u8>().add(buffer.file_pos as usize);
        mapped.last = start.cast::<u8>().add(size);
        mapped.file = ptr::null_mut();
        mapped.file_pos = 0;
        mapped.file_last = 0;
        mapped.set_in_file(0);
        mapped.set_temp_file(0);
        mapped.set_memory(1);
        Some(mapped)
    }
}

struct Mapping {
    start: *mut c_void,
    size: usize,
}

unsafe extern "C" fn unmap(data: *mut c_void) {
    guard((), || {
        // SAFETY: what `in_memory` left; runs once, when nginx destroys the pool.
        unsafe {
            let Mapping { start, size } = data.cast::<Mapping>().read();
            libc::munmap(start, size);
        }
    });
}
