use core::slice;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use ngx::ffi::{ngx_buf_t, ngx_chain_t};

use crate::request::handle::Request;

/// The number of bytes read at a time from a body in a temporary file.
const PIECE: usize = 64 * 1024;

impl Request<'_> {
    /// The length in bytes of the request body as far as it has been read.
    pub fn body_length(&self) -> u64 {
        self.body_buffers().map(|b| length(&b)).sum()
    }

    /// Calls `see` for each piece of the body in order. Pieces in a temporary file are read into
    /// memory. `false` if reading fails.
    pub fn body_pieces(&self, mut see: impl FnMut(&[u8])) -> bool {
        for buffer in self.body_buffers() {
            if length(&buffer) == 0 {
                // The last buffer of a chunked body may have null pointers.
                continue;
            }
            if buffer.in_file() == 0 {
                // SAFETY: the bytes of a body buffer in memory are initialised from `pos` to `last`
                // (Lists). nginx does not change or free them before this call returns (Call).
                see(unsafe { slice::from_raw_parts(buffer.pos, length(&buffer) as usize) });
            // SAFETY: a buffer of the body of a live request (Request).
            } else if !unsafe { file_pieces(&buffer, &mut see) } {
                return false;
            }
        }
        true
    }

    fn body_buffers(&self) -> impl Iterator<Item = ngx_buf_t> {
        // SAFETY: a `Request` is live. `request_body` is null before nginx begins to read the body,
        // and otherwise in the pool of the request, as are the links and buffers of `bufs`
        // (Request).
        let mut link: *mut ngx_chain_t = unsafe {
            self.get()
                .request_body
                .as_ref()
                .map_or(core::ptr::null_mut(), |body| body.bufs)
        };
        std::iter::from_fn(move || {
            // SAFETY: `link` is a link of that chain, or the null after its last link (Lists).
            // nginx does not change the chain while a `Request` is borrowed (Call).
            let part = unsafe { link.as_ref()? };
            link = part.next;
            // SAFETY: each link of a chain has a buffer (Lists).
            Some(unsafe { *part.buf })
        })
    }
}

pub(crate) fn length(buffer: &ngx_buf_t) -> u64 {
    if buffer.in_file() != 0 {
        return (buffer.file_last - buffer.file_pos).max(0) as u64;
    }
    (buffer.last as usize).saturating_sub(buffer.pos as usize) as u64
}

/// # Safety
/// The buffer must be part of the body of a live request.
unsafe fn file_pieces(buffer: &ngx_buf_t, see: &mut impl FnMut(&[u8])) -> bool {
    // SAFETY: a buffer with `in_file` has a file. For a body that is the temporary file, which a
    // cleanup of the pool closes (Request). ManuallyDrop keeps this code from closing it.
    let file = unsafe {
        let Some(file) = buffer.file.as_ref() else {
            return false;
        };
        ManuallyDrop::new(File::from_raw_fd(file.fd))
    };
    let (mut at, end) = (buffer.file_pos as u64, buffer.file_last as u64);
    let mut piece = vec![0; PIECE.min(end.saturating_sub(at) as usize)];
    while at < end {
        let want = piece.len().min((end - at) as usize);
        match file.read_at(&mut piece[..want], at) {
            Ok(read) if read > 0 => {
                see(&piece[..read]);
                at += read as u64;
            }
            _ => return false,
        }
    }
    true
}
