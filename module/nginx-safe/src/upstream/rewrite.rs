use core::ffi::c_void;
use core::ops::Range;
use core::ptr::{self, NonNull};
use std::rc::Rc;

use ngx::ffi::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_request_t, ngx_http_variable_t, ngx_pcalloc, ngx_pool_cleanup_add, ngx_pool_t,
    ngx_table_elt_t, off_t,
};

use crate::guard;
use crate::request::body::length;
use crate::request::context;
use crate::request::handle::Request;
use crate::text::{bytes_of, copy_into};

/// A range of a request body that is replaced on its way to the upstream.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The range, in bytes from the start of the body.
    pub range: Range<u64>,
    /// The bytes to send instead.
    pub with: Rc<[u8]>,
}

impl Request<'_> {
    /// Replaces these ranges, which must not overlap, in the body sent to the upstream. The body
    /// itself does not change: later attempts and locations see the original.
    pub fn rewrite_body(&self, mut rewrites: Vec<Rewrite>) {
        // Last range first, so that the offsets of the others stay valid.
        rewrites.sort_by_key(|rewrite| core::cmp::Reverse(rewrite.range.start));
        if let Some(state) = context::state(*self) {
            *state.rewrites.borrow_mut() = rewrites;
        }
    }
}

/// Replaces the request body while the request to the upstream is made. Dropping it restores the
/// content length.
pub(crate) struct Rewritten {
    r: *mut ngx_http_request_t,
    theirs: off_t,
    /// The client's header. Without it, `$content_length` is the new length.
    header: *mut ngx_table_elt_t,
}

impl Rewritten {
    /// `None` if memory runs out, or the body's file cannot be mapped.
    ///
    /// # Safety
    /// `r` must be live, and the call be in the `create_request` of its upstream, which the value
    /// must not outlive.
    pub(crate) unsafe fn new(r: *mut ngx_http_request_t, rewrites: &[Rewrite]) -> Option<Self> {
        // SAFETY: the caller guarantees that nginx is in `create_request` of a live request
        // (Upstream). ngx_http_upstream_init_request has set request_bufs to the chain of the body;
        // create_request copies its buffers into a chain of its own. The new chain is in the pool
        // of the request (Pool).
        unsafe {
            let upstream = NonNull::new((*r).upstream)?.as_ptr();
            let theirs = (*r).headers_in.content_length_n;
            let before = (*upstream).request_bufs;
            let (mut chain, mut length) = (before, theirs);
            for rewrite in rewrites {
                chain = rewritten((*r).pool, chain, rewrite)?;
                let less = rewrite.range.end - rewrite.range.start;
                length += rewrite.with.len() as off_t - less as off_t;
            }
            if !before.is_null() && theirs >= 0 {
                (*r).headers_in.content_length_n = length;
            }
            (*upstream).request_bufs = chain;
            let header = (*r).headers_in.content_length;
            if !rewrites.is_empty() {
                (*r).headers_in.content_length = ptr::null_mut();
                forget_length(r);
            }
            Some(Self { r, theirs, header })
        }
    }
}

impl Drop for Rewritten {
    fn drop(&mut self) {
        // SAFETY: the value does not outlive the hook, and nginx keeps the request live during it
        // (Upstream).
        unsafe {
            (*self.r).headers_in.content_length_n = self.theirs;
            if (*self.r).headers_in.content_length != self.header {
                (*self.r).headers_in.content_length = self.header;
                forget_length(self.r);
            }
        }
    }
}

/// Removes the cached value of `$content_length`, so that nginx evaluates it again.
///
/// # Safety
/// `r` must be live.
unsafe fn forget_length(r: *mut ngx_http_request_t) {
    // SAFETY: the caller guarantees the request. nginx allocates its array of values with an entry
    // for each indexed variable of the configuration (Request).
    unsafe {
        let module = &raw const ngx_http_core_module;
        let main = *(*r).main_conf.add((*module).ctx_index);
        let variables = &(*main.cast::<ngx_http_core_main_conf_t>()).variables;
        let variables = variables.as_slice::<ngx_http_variable_t>().iter();
        let named = variables
            .enumerate()
            .filter(|(_, variable)| bytes_of(&variable.name) == b"content_length");
        for (index, _) in named {
            let value = (*r).variables.add(index);
            (*value).set_valid(0);
            (*value).set_not_found(0);
        }
    }
}

/// A copy of the chain with one range replaced.
///
/// # Safety
/// The pool must be live, and the chain be of a body that lives at least as long.
unsafe fn rewritten(
    pool: *mut ngx_pool_t,
    mut link: *mut ngx_chain_t,
    Rewrite { range, with, .. }: &Rewrite,
) -> Option<*mut ngx_chain_t> {
    let mut first = ptr::null_mut();
    let mut end: *mut *mut ngx_chain_t = &raw mut first;
    let mut at = 0;
    // SAFETY: the caller guarantees pool and chain. A chain ends with a null link, and each link
    // has a buffer (Lists). ngx_alloc_chain_link and ngx_pcalloc return null or memory of the pool
    // (Pool). `end` points to `first`, or to `next` of the last new link.
    unsafe {
        let mut add = |buffer: ngx_buf_t| {
            let link = NonNull::new(ngx_alloc_chain_link(pool))?.as_ptr();
            let place = ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            NonNull::new(place)?.write(buffer);
            (*link).buf = place;
            (*link).next = ptr::null_mut();
            *end = link;
            end = &raw mut (*link).next;
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

/// A part of a buffer in memory. `start` is set as well, because nginx sends a buffer again from
/// there.
fn slice(buffer: &ngx_buf_t, from: u64, to: u64, ends: bool) -> ngx_buf_t {
    let mut part = *buffer;
    // The last buffer of a chunked body may have null pointers.
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
/// The pool must be live.
unsafe fn replacement(pool: *mut ngx_pool_t, with: &[u8]) -> Option<ngx_buf_t> {
    // SAFETY: the caller guarantees that the pool is live; the copy lives as long (Pool). A zeroed
    // ngx_buf_t is valid (Zeroed).
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

/// A buffer whose bytes are in memory: the bytes of a file are mapped. A part of a file could not
/// be left out otherwise: when nginx sends a request again (`proxy_next_upstream`), it sends the
/// file from its first byte and without gaps.
///
/// # Safety
/// The pool must be live, and the buffer be of a body that lives at least as long.
unsafe fn in_memory(pool: *mut ngx_pool_t, buffer: ngx_buf_t) -> Option<ngx_buf_t> {
    if buffer.in_file() == 0 || length(&buffer) == 0 {
        return Some(buffer);
    }
    // SAFETY: a buffer with `in_file` has a file. For a body that is the temporary file, which a
    // cleanup of the pool closes (Request). Only nginx writes to it, and has finished; it never
    // truncates it. ngx_pool_cleanup_add returns null or an entry without a handler; the cleanup
    // removes the mapping when the pool is destroyed (Pool).
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
        // SAFETY: `in_memory` has written the data. A pool runs each cleanup once (Pool).
        unsafe {
            let Mapping { start, size } = data.cast::<Mapping>().read();
            libc::munmap(start, size);
        }
    });
}
