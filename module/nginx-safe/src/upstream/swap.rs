use core::marker::PhantomData;

use memchr::memmem;
use ngx::ffi::{
    NGX_LOG_DEBUG_HTTP, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_request_t,
    ngx_http_variable_t, ngx_http_variable_value_t, ngx_list_part_t, ngx_table_elt_t,
};
use smallvec::SmallVec;

use crate::request::headers::{HeaderName, HeadersIn, SentHeaders, is_named};
use crate::text::bytes_of;
use crate::upstream::wrap::Wrapped;

/// The request's headers with the client's credentials left out and ours put in.
///
/// That lasts no longer than the making of the request to the upstream: whatever
/// nginx does next (connect, fail, redirect to another location) sees the
/// client's own headers, which are not touched.
pub(crate) struct Swapped<'a, M: Wrapped> {
    r: *mut ngx_http_request_t,
    theirs: ngx_list_part_t,
    /// What the request's header list consists of meanwhile.
    _ours: Vec<ngx_table_elt_t>,
    authorization: &'a [u8],
    more: Option<&'a SentHeaders>,
    /// Values that nginx had kept of the client's credentials.
    kept: Vec<(usize, ngx_http_variable_value_t)>,
    debug: usize,
    module: PhantomData<M>,
}

impl<'a, M: Wrapped> Swapped<'a, M> {
    /// # Safety
    /// `r` must be live; nobody adds request headers until the value is dropped.
    pub(crate) unsafe fn new(
        r: *mut ngx_http_request_t,
        authorization: &'a [u8],
        more: Option<&'a SentHeaders>,
    ) -> Self {
        // SAFETY: elements are copied, which nginx itself does with a subrequest's
        // header list; the list's first part is put back by Drop. nginx reads the
        // list when it creates the upstream request, which happens in between.
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
                    // Without it the answer is one that can be looked into. Else a
                    // client could have an error of its own cost every key.
                    ours.push(*header);
                }
            }
            if !secrets.is_empty() {
                let tells =
                    |value: &[u8]| secrets.iter().any(|secret| M::tells_secret(value, secret));
                ours.retain(|header| !tells(bytes_of(&header.value)));
            }
            let mut kept = vec![];
            put_aside(r, &secrets, |name| hides::<M>(name, more), &mut kept);
            ours.push(AUTHORIZATION.with(authorization));
            let with = more.into_iter().flat_map(|more| &more.with);
            ours.extend(with.map(|(name, value)| name.with(value)));
            let part = &raw mut (*r).headers_in.headers.part;
            let theirs = *part;
            *part = ngx_list_part_t {
                elts: ours.as_mut_ptr().cast(),
                nelts: ours.len(),
                next: core::ptr::null_mut(),
            };
            // A debug log would show the request to the upstream, with the key.
            let log = (*(*r).connection).log;
            let debug = (*log).log_level & NGX_LOG_DEBUG_HTTP as usize;
            (*log).log_level &= !debug;
            Self {
                r,
                theirs,
                _ours: ours,
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
        // SAFETY: as in `new`.
        unsafe {
            (*self.r).headers_in.headers.part = self.theirs;
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

/// Whether what the client says in a header does not go upstream; the name as variables
/// spell it.
fn hides<M: Wrapped>(name: &[u8], more: Option<&SentHeaders>) -> bool {
    M::is_credential(name) || more.is_some_and(|more| more.has(name))
}

/// Makes nginx forget the values of variables that tell of a credential, and gives
/// them to `kept`: those of the headers that `hides` names, and any that contain one of
/// the `secrets`, made of them by `map` or `set`.
///
/// # Safety
/// `r` must be live.
unsafe fn put_aside(
    r: *mut ngx_http_request_t,
    secrets: &[&[u8]],
    hides: impl Fn(&[u8]) -> bool,
    kept: &mut Vec<(usize, ngx_http_variable_value_t)>,
) {
    // SAFETY: a request has as many values as the configuration has indexed
    // variables; a valid value points at `len` bytes that live as long.
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
            let tells = || {
                let value = (*value).as_bytes();
                let within = |secret: &&[u8]| {
                    let fits = !secret.is_empty() && secret.len() <= value.len();
                    fits && memmem::find(value, secret).is_some()
                };
                secrets.iter().any(within)
            };
            if of_header || ((*value).valid() != 0 && tells()) {
                kept.push((index, *value));
                (*value).set_valid(0);
                (*value).set_not_found(0);
            }
        }
    }
}
