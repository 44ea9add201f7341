use core::ptr;

use ngx::ffi::{
    ngx_http_request_t, ngx_list_part_t, ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t,
};

use super::request::Request;
use super::text::{bytes_of, copy_into, lent};

/// Headers as nginx keeps them: a list of arrays.
pub(crate) struct HeadersIn {
    part: *mut ngx_list_part_t,
    at: usize,
}

impl HeadersIn {
    /// # Safety
    /// `r` must be live, and its header list not be added to meanwhile.
    pub(crate) unsafe fn of(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: the caller vouches for `r`.
        let part = unsafe { &raw mut (*r).headers_in.headers.part };
        Self { part, at: 0 }
    }

    /// # Safety
    /// `list` must hold headers, and not be added to meanwhile.
    pub(crate) unsafe fn of_list(list: &ngx_list_t) -> Self {
        let part = (&raw const list.part).cast_mut();
        Self { part, at: 0 }
    }
}

impl Iterator for HeadersIn {
    type Item = *mut ngx_table_elt_t;
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the parts of an nginx list hold `nelts` elements each, and the
        // last one's `next` is null.
        unsafe {
            while self.at >= (*self.part).nelts {
                self.part = ptr::NonNull::new((*self.part).next)?.as_ptr();
                self.at = 0;
            }
            let element = (*self.part).elts.cast::<ngx_table_elt_t>().add(self.at);
            self.at += 1;
            Some(element)
        }
    }
}

/// # Safety
/// `header` must be an element of a live header list.
pub(crate) unsafe fn is_named(header: *mut ngx_table_elt_t, lowercase: &[u8]) -> bool {
    // SAFETY: nginx fills key in every element.
    unsafe { bytes_of(&(*header).key).eq_ignore_ascii_case(lowercase) }
}

impl<'a> Request<'a> {
    /// The values of a request header, in their order; the name in lower case.
    pub fn headers_named(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // SAFETY: the request is live, and headers are not added while we look.
        unsafe {
            HeadersIn::of(self.raw)
                .filter(move |&h| is_named(h, name))
                .map(|h| bytes_of(&(*h).value))
        }
    }

    /// The request's `Content-Type`, empty when there is none.
    pub fn content_type(&self) -> &'a [u8] {
        // SAFETY: null or an element of the header list.
        match unsafe { self.get().headers_in.content_type.as_ref() } {
            Some(header) => bytes_of(&header.value),
            None => &[],
        }
    }

    /// Adds a header to the answer.
    pub fn add_answer_header(&self, name: &'static [u8], value: &[u8]) -> Option<()> {
        // SAFETY: live request; the new element is written in full before nginx
        // sees it, zeros first as newer versions have more fields.
        unsafe {
            let value: ngx_str_t = copy_into((*self.raw).pool, value)?;
            let header = ngx_list_push(&raw mut (*self.raw).headers_out.headers);
            let header = ptr::NonNull::new(header)?
                .as_ptr()
                .cast::<ngx_table_elt_t>();
            ptr::write_bytes(header, 0, 1);
            (*header).hash = 1;
            (*header).key = lent(name);
            (*header).value = value;
        }
        Some(())
    }
}
