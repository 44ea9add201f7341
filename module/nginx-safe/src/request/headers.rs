use core::ptr;

use ngx::ffi::{
    ngx_http_request_t, ngx_list_part_t, ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t,
};

use crate::request::handle::Request;
use crate::text::{bytes_of, copy_into, lent};

/// An iterator over nginx's list of headers, which is a list of arrays.
pub(crate) struct HeadersIn {
    part: *mut ngx_list_part_t,
    at: usize,
}

impl HeadersIn {
    /// # Safety
    /// `r` must be live, and no header be added while the iterator is used.
    pub(crate) unsafe fn of(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: the caller guarantees that the request is live, and `headers_in` is part of it
        // (Request). No reference is made.
        let part = unsafe { &raw mut (*r).headers_in.headers.part };
        Self { part, at: 0 }
    }

    /// # Safety
    /// `list` must contain headers, and no header be added while the iterator is used.
    pub(crate) unsafe fn of_list(list: &ngx_list_t) -> Self {
        let part = (&raw const list.part).cast_mut();
        Self { part, at: 0 }
    }
}

impl Iterator for HeadersIn {
    type Item = *mut ngx_table_elt_t;
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the caller of `of` or `of_list` guarantees a live list. Each part of it has
        // `nelts` elements, and `next` of the last part is null (Lists).
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
/// `header` must be an element of a live list of headers.
pub(crate) unsafe fn is_named(header: *mut ngx_table_elt_t, lowercase: &[u8]) -> bool {
    // SAFETY: the caller guarantees an element of a live list. nginx sets `key` before it adds an
    // element, or right after (Lists).
    unsafe { bytes_of(&(*header).key).eq_ignore_ascii_case(lowercase) }
}

/// The name of a header, in the forms that nginx uses.
#[derive(Clone, Copy)]
pub struct HeaderName {
    name: &'static [u8],
    lower: &'static [u8],
    /// The value of nginx's ngx_hash_key_lc(), by which `proxy_set_header` finds the header.
    hash: usize,
}

impl HeaderName {
    /// Makes a name; `lower` must be `name` in lower case.
    ///
    /// ```compile_fail,E0080
    /// const SHORT: nginx_safe::HeaderName = nginx_safe::HeaderName::new(b"X-Name", b"x");
    /// # fn main() { SHORT; }
    /// ```
    ///
    /// # Panics
    /// If the two differ otherwise than by case. A constant then does not compile.
    pub const fn new(name: &'static [u8], lower: &'static [u8]) -> Self {
        // nginx stores only one length for both.
        assert!(name.len() == lower.len(), "two different names");
        let (mut hash, mut at) = (0usize, 0);
        while at < lower.len() {
            let is_same = name[at].to_ascii_lowercase() == lower[at];
            assert!(is_same, "two different names");
            hash = hash.wrapping_mul(31).wrapping_add(lower[at] as usize);
            at += 1;
        }
        Self { name, lower, hash }
    }

    /// A header with this name. It refers to `value`, which must live as long as the header is
    /// used.
    pub(crate) fn with(&self, value: &[u8]) -> ngx_table_elt_t {
        // SAFETY: a zeroed ngx_table_elt_t is valid, in all versions of the struct (Zeroed).
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

/// Headers to send to the upstream in place of the client's.
#[derive(Default)]
pub struct SentHeaders {
    /// Names, in lower case, of the client's headers that are not sent.
    pub without: &'static [&'static [u8]],
    /// Headers to send, with their values.
    pub with: Vec<(HeaderName, Box<[u8]>)>,
}

impl SentHeaders {
    /// Whether `without` or `with` contains this name, written as in a variable (`x_name`).
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
    /// The values of a request header, in their order. `name` is in lower case.
    pub fn headers_named(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // SAFETY: a `Request` is live for `'a` (see `Request`). nginx adds request headers only
        // while it reads the header, before it calls a module's phases, and keeps names and values
        // as long as the request (Request).
        unsafe {
            HeadersIn::of(self.raw)
                .filter(move |&h| is_named(h, name))
                .map(|h| bytes_of(&(*h).value))
        }
    }

    /// The request's `Content-Type`; empty if it has none.
    pub fn content_type(&self) -> &'a [u8] {
        // SAFETY: a `Request` is live. `content_type` is null or an element of the list of headers
        // in its pool, as is its value (Request).
        unsafe {
            let header = self.get().headers_in.content_type.as_ref();
            header.map_or(&[], |header| bytes_of(&header.value))
        }
    }

    /// Whether the response has a header of this name.
    pub fn answers_with(&self, name: HeaderName) -> bool {
        self.answer_headers(name).next().is_some()
    }

    fn answer_headers(&self, name: HeaderName) -> impl Iterator<Item = *mut ngx_table_elt_t> {
        // SAFETY: a `Request` is live, and ngx_http_alloc_request or ngx_http_subrequest has made
        // its list of response headers (Request). No header is added while the iterator is used.
        // nginx does not send elements whose hash is zero.
        unsafe {
            HeadersIn::of_list(&self.get().headers_out.headers)
                .filter(move |&h| (*h).hash != 0 && is_named(h, name.lower))
        }
    }

    /// Sets a response header, in place of all of that name. `None` if memory runs out.
    pub fn set_answer_header(&self, name: HeaderName, value: &[u8]) -> Option<()> {
        // SAFETY: these are elements of the list of a live request, of which nginx keeps no
        // references, only pointers (Request). The name and value are not changed.
        self.answer_headers(name)
            .for_each(|h| unsafe { (*h).hash = 0 });
        self.add_answer_header(name.name, value)
    }

    /// Adds a response header. `None` if memory runs out.
    pub fn add_answer_header(&self, name: &'static [u8], value: &[u8]) -> Option<()> {
        // SAFETY: a `Request` is live, and so is its list of response headers (Request).
        // ngx_list_push returns null or a new element in the pool. It is zeroed before its fields
        // are set, because newer versions of nginx have more fields.
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
