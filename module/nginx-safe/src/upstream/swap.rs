use core::marker::PhantomData;

use memchr::memmem;
use ngx::ffi::{
    NGX_LOG_DEBUG_HTTP, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_request_t,
    ngx_http_variable_t, ngx_http_variable_value_t, ngx_list_part_t, ngx_list_t, ngx_table_elt_t,
};
use smallvec::SmallVec;

use crate::request::headers::{HeaderName, HeadersIn, SentHeaders, is_named};
use crate::text::bytes_of;
use crate::upstream::wrap::Wrapped;

/// Replaces the client's credentials in the request headers by the module's, until it is dropped.
///
/// It exists only while the request to the upstream is made. Whatever nginx does afterwards
/// (connect, fail, redirect to another location) uses the client's headers, which have not been
/// changed.
pub(crate) struct Swapped<'a, M: Wrapped> {
    r: *mut ngx_http_request_t,
    theirs: ngx_list_t,
    /// The elements of the request's list of headers in the meantime.
    _ours: Vec<ngx_table_elt_t>,
    /// The client's headers that contain a credential, with the lengths of their values. They are
    /// empty in the meantime: nginx reads the values of some variables from them (`$http_cookie`).
    hidden: Vec<(*mut ngx_table_elt_t, usize)>,
    authorization: &'a [u8],
    more: Option<&'a SentHeaders>,
    /// Cached values of variables that contain the client's credentials.
    kept: Vec<(usize, ngx_http_variable_value_t)>,
    debug: usize,
    module: PhantomData<M>,
}

impl<'a, M: Wrapped> Swapped<'a, M> {
    /// # Safety
    /// `r` must be live until the value is dropped. A request header that is added in the meantime
    /// is lost then.
    pub(crate) unsafe fn new(
        r: *mut ngx_http_request_t,
        authorization: &'a [u8],
        more: Option<&'a SentHeaders>,
    ) -> Self {
        // SAFETY: the caller guarantees that the request is live, and so are its connection and its
        // list of headers (Request). The list is replaced by one of a single part, which is full:
        // ngx_list_push adds another part to it and leaves the Vec alone. Drop restores the list,
        // and the elements of the client's headers, of which only lengths are changed. nginx reads
        // the list in `create_request`, which is called in between.
        unsafe {
            let without = more.map_or(&[][..], |more| more.without);
            let mut ours: Vec<ngx_table_elt_t> = Vec::with_capacity(16);
            let mut secrets: SmallVec<[&[u8]; 4]> = SmallVec::new();
            for header in HeadersIn::of(r) {
                if M::is_credential(bytes_of(&(*header).key)) {
                    secrets.push(M::secret_of(bytes_of(&(*header).value)));
                } else if !is_named(header, b"accept-encoding")
                    && !without.iter().any(|name| is_named(header, name))
                {
                    // Without Accept-Encoding, the response is not compressed, so that it can be
                    // read.
                    ours.push(*header);
                }
            }
            let mut hidden = vec![];
            if !secrets.is_empty() {
                let is_secret = |value: &[u8]| {
                    secrets
                        .iter()
                        .any(|secret| M::contains_secret(value, secret))
                };
                ours.retain(|header| !is_secret(bytes_of(&header.value)));
                hidden.extend(
                    HeadersIn::of(r)
                        .filter(|&header| is_secret(bytes_of(&(*header).value)))
                        .map(|header| (header, (*header).value.len)),
                );
            }
            let mut kept = vec![];
            put_aside(r, &secrets, |name| hides::<M>(name, more), &mut kept);
            ours.push(AUTHORIZATION.with(authorization));
            let with = more.into_iter().flat_map(|more| &more.with);
            ours.extend(with.map(|(name, value)| name.with(value)));
            for &(header, _) in &hidden {
                (*header).value.len = 0;
            }
            let list = &raw mut (*r).headers_in.headers;
            let theirs = *list;
            (*list).part = ngx_list_part_t {
                elts: ours.as_mut_ptr().cast(),
                nelts: ours.len(),
                next: core::ptr::null_mut(),
            };
            (*list).last = &raw mut (*list).part;
            (*list).nalloc = ours.len();
            // The debug log would contain the request to the upstream, with the credentials.
            let log = (*(*r).connection).log;
            let debug = (*log).log_level & NGX_LOG_DEBUG_HTTP as usize;
            (*log).log_level &= !debug;
            Self {
                r,
                theirs,
                _ours: ours,
                hidden,
                authorization,
                more,
                kept,
                debug,
                module: PhantomData,
            }
        }
    }
}

impl<M: Wrapped> Drop for Swapped<'_, M> {
    fn drop(&mut self) {
        // SAFETY: the value does not outlive the hook, and nginx keeps the request and its
        // connection live during it (Upstream). The indices in `kept` come from the same request.
        // Values that nginx has cached meanwhile may point to `authorization`, and are removed if
        // `hides` or `secret_of` recognises them.
        unsafe {
            (*self.r).headers_in.headers = self.theirs;
            for (header, length) in self.hidden.drain(..) {
                (*header).value.len = length;
            }
            let ours = [M::secret_of(self.authorization)];
            put_aside(
                self.r,
                &ours,
                |name| hides::<M>(name, self.more),
                &mut vec![],
            );
            for (index, value) in self.kept.drain(..) {
                (*self.r).variables.add(index).write(value);
            }
            (*(*(*self.r).connection).log).log_level |= self.debug;
        }
    }
}

const AUTHORIZATION: HeaderName = HeaderName::new(b"Authorization", b"authorization");

/// Whether the client's header of this name is not sent to the upstream. The name is written as in
/// a variable (`x_name`). `authorization` always is: its value refers to the key, which is wiped.
fn hides<M: Wrapped>(name: &[u8], more: Option<&SentHeaders>) -> bool {
    name == b"authorization" || M::is_credential(name) || more.is_some_and(|more| more.has(name))
}

/// Removes cached values of variables that contain a credential, and appends them to `kept`: the
/// variables of headers for which `hides` returns `true`, and those whose value contains one of
/// `secrets`, for example by `map` or `set`.
///
/// # Safety
/// `r` must be live.
unsafe fn put_aside(
    r: *mut ngx_http_request_t,
    secrets: &[&[u8]],
    hides: impl Fn(&[u8]) -> bool,
    kept: &mut Vec<(usize, ngx_http_variable_value_t)>,
) {
    // SAFETY: the caller guarantees that the request is live. nginx allocates its array of values
    // with an entry for each indexed variable of the configuration; a valid value points to `len`
    // bytes (Request).
    unsafe {
        let module = &raw const ngx_http_core_module;
        let main = *(*r).main_conf.add((*module).ctx_index);
        let variables = &(*main.cast::<ngx_http_core_main_conf_t>()).variables;
        for (index, variable) in variables
            .as_slice::<ngx_http_variable_t>()
            .iter()
            .enumerate()
        {
            let value = (*r).variables.add(index);
            let known = (*value).valid() != 0 || (*value).not_found() != 0;
            if !known {
                continue;
            }
            let of_header = bytes_of(&variable.name)
                .strip_prefix(b"http_")
                .is_some_and(&hides);
            let is_secret = || {
                let value = (*value).as_bytes();
                let within = |secret: &&[u8]| {
                    let fits = !secret.is_empty() && secret.len() <= value.len();
                    fits && memmem::find(value, secret).is_some()
                };
                secrets.iter().any(within)
            };
            if of_header || ((*value).valid() != 0 && is_secret()) {
                kept.push((index, *value));
                (*value).set_valid(0);
                (*value).set_not_found(0);
            }
        }
    }
}
