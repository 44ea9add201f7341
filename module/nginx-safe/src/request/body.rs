use core::slice;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use ngx::ffi::{ngx_buf_t, ngx_chain_t};

use crate::request::handle::Request;

/// How much of a body in a temporary file is read at a time.
const PIECE: usize = 64 * 1024;

impl Request<'_> {
    /// The length of the body that has been read.
    pub fn body_length(&self) -> u64 {
        self.body_buffers().map(|b| length(&b)).sum()
    }

    /// Shows the body, piece by piece, in memory where it is in memory. `false`
    /// when a temporary file could not be read.
    pub fn body_pieces(&self, mut see: impl FnMut(&[u8])) -> bool {
        for buffer in self.body_buffers() {
            if length(&buffer) == 0 {
                // The last of a chunked body may have no memory at all.
                continue;
            }
            if buffer.in_file() == 0 {
                // SAFETY: pos and last bound the initialised bytes of a buffer of
                // the request body, which lives as long as the request.
                see(unsafe { slice::from_raw_parts(buffer.pos, length(&buffer) as usize) });
            } else if !file_pieces(&buffer, &mut see) {
                return false;
            }
        }
        true
    }

    fn body_buffers(&self) -> impl Iterator<Item = ngx_buf_t> {
        // SAFETY: null before the body is read; then a chain whose buffers stay
        // as long as the request.
        let mut link: *mut ngx_chain_t = unsafe {
            self.get()
                .request_body
                .as_ref()
                .map_or(core::ptr::null_mut(), |body| body.bufs)
        };
        std::iter::from_fn(move || {
            // SAFETY: as above; links are null-terminated.
            let part = unsafe { link.as_ref()? };
            link = part.next;
            // SAFETY: every link of a request body has a buffer.
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

fn file_pieces(buffer: &ngx_buf_t, see: &mut impl FnMut(&[u8])) -> bool {
    // SAFETY: a buffer in a file has a file, open for as long as the request; it
    // is only borrowed here, not closed.
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
