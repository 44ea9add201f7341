use core::ffi::{CStr, c_void};

use ngx::ffi::{ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_upstream_conf_t};

use crate::text::bytes_of;

/// The modules that send requests to upstreams, each by a directive that ends in `_pass`.
const SENDERS: [&CStr; 5] = [
    c"ngx_http_proxy_module",
    c"ngx_http_grpc_module",
    c"ngx_http_fastcgi_module",
    c"ngx_http_uwsgi_module",
    c"ngx_http_scgi_module",
];

/// The host that a location's requests are sent to, with its port if that is stated, or the
/// name of its `upstream` block. `None` where it is not known before a request: it is made
/// of variables.
///
/// # Safety
/// `cf` must be the configuration of a location while it is merged, after the modules that
/// send have merged theirs.
pub(crate) unsafe fn stated(cf: *mut ngx_conf_t) -> Option<String> {
    // SAFETY: nginx ends the list of modules by null; a module's context is of the HTTP kind
    // by its name, so that each location has a configuration of it. nginx's own modules
    // begin these with an ngx_http_upstream_conf_t, whose upstream is null or lives as long
    // as the configuration.
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
