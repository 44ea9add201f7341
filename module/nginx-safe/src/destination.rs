use core::ffi::{CStr, c_void};

use ngx::ffi::{ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_upstream_conf_t};

use crate::text::bytes_of;

/// The modules that send requests to upstreams. Each has a directive that ends in `_pass`.
const SENDERS: [&CStr; 5] = [
    c"ngx_http_proxy_module",
    c"ngx_http_grpc_module",
    c"ngx_http_fastcgi_module",
    c"ngx_http_uwsgi_module",
    c"ngx_http_scgi_module",
];

/// The host that a location sends requests to, with its port if the configuration states one, or
/// the name of the `upstream` block. `None` if the location sends no requests, or if the host
/// contains variables and is only known when a request arrives.
///
/// # Safety
/// `cf` must be in merge_loc_conf of a location, after the modules in `SENDERS` have merged theirs.
pub(crate) unsafe fn stated(cf: *mut ngx_conf_t) -> Option<String> {
    // SAFETY: the caller guarantees that nginx is merging a location, so cf->ctx->loc_conf is that
    // of the location (Configuration). cycle->modules ends with null (Modules). The names are those
    // of HTTP modules of nginx itself: each sets its entry in loc_conf to a struct that begins with
    // an ngx_http_upstream_conf_t, from zeroed memory, and its `upstream` to null or to what
    // ngx_http_upstream_add has put into the pool of the cycle.
    unsafe {
        let context = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let mut module = (*(*cf).cycle).modules;
        while let Some(known) = (*module).as_ref() {
            module = module.add(1);
            if known.name.is_null() || !SENDERS.contains(&CStr::from_ptr(known.name)) {
                continue;
            }
            let place: *mut c_void = *(*context).loc_conf.add(known.ctx_index);
            let sender = place.cast::<ngx_http_upstream_conf_t>().as_ref();
            let Some(upstream) = sender.and_then(|sender| sender.upstream.as_ref()) else {
                continue;
            };
            let host = str::from_utf8(bytes_of(&upstream.host)).ok()?;
            return Some(match (upstream.port, upstream.no_port) {
                (0, _) | (_, 1..) => host.to_owned(),
                (port, _) => format!("{host}:{port}"),
            });
        }
    }
    None
}
