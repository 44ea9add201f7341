use core::ptr;

use ngx::ffi::{
    ngx_http_request_t, ngx_list_part_t, ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t,
};

use crate::request::handle::Request;
use crate::text::{bytes_of, copy_into, lent};

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

/// The name of a header, as nginx wants to have it.
#[derive(Clone, Copy)]
pub struct HeaderName {
    name: &'static [u8],
    lower: &'static [u8],
    /// By which `proxy_set_header` finds it: that of nginx's ngx_hash_key_lc().
    hash: usize,
}

impl HeaderName {
    /// `lower` is the same in lower case.
    pub const fn new(name: &'static [u8], lower: &'static [u8]) -> Self {
        let (mut hash, mut at) = (0usize, 0);
        while at < lower.len() {
            hash = hash.wrapping_mul(31).wrapping_add(lower[at] as usize);
            at += 1;
        }
        Self { name, lower, hash }
    }

    /// A header of this name, over bytes that outlive every use of it.
    pub(crate) fn with(&self, value: &[u8]) -> ngx_table_elt_t {
        // SAFETY: zeros are a header without anything, whatever fields the version has.
        let mut element: ngx_table_elt_t = unsafe { core::mem::zeroed() };
        element.hash = self.hash;
        element.key = lent(self.name);
        element.lowcase_key = lent(self.lower).data;
        element.value = ngx_str_t {
            len: value.len(),
            data: value.as_ptr().cast_mut(),
        };
        element
    }
}

/// Headers that go upstream in place of the client's.
#[derive(Default)]
pub struct SentHeaders {
    /// Names in lower case of those of the client's that do not go.
    pub without: &'static [&'static [u8]],
    /// The headers to send instead, with their values.
    pub with: Vec<(HeaderName, Box<[u8]>)>,
}

impl SentHeaders {
    /// Whether one of them has this name, as variables spell it.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        let spelt = |&byte: &u8| if byte == b'-' { b'_' } else { byte };
        let without = self.without.iter().copied();
        let with = self.with.iter().map(|(name, _)| name.lower);
        without
            .chain(with)
            .any(|lower| lower.iter().map(spelt).eq(name.iter().copied()))
    }
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

    /// Whether the answer has a header.
    pub fn answers_with(&self, name: HeaderName) -> bool {
        self.answer_headers(name).next().is_some()
    }

    fn answer_headers(&self, name: HeaderName) -> impl Iterator<Item = *mut ngx_table_elt_t> {
        // SAFETY: live request, to whose headers nothing is added meanwhile; one whose
        // hash is zero is not sent.
        unsafe {
            HeadersIn::of_list(&self.get().headers_out.headers)
                .filter(move |&h| (*h).hash != 0 && is_named(h, name.lower))
        }
    }

    /// Gives the answer a header in place of any of that name.
    pub fn set_answer_header(&self, name: HeaderName, value: &[u8]) -> Option<()> {
        // SAFETY: elements of the live request's list.
        self.answer_headers(name)
            .for_each(|h| unsafe { (*h).hash = 0 });
        self.add_answer_header(name.name, value)
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
