//! Configurations of nginx: plain and gateway side by side, which differ only in the lease.

use std::fs;
use std::path::Path;

use rustix::process::geteuid;

use crate::error::{Result, While};
use crate::route::{Group, Route};

/// The token that clients send. Plain nginx passes it on; the gateway replaces it by a key.
pub const CLIENT_TOKEN: &str = "bench-client-token";
/// The environment variable from which the gateway reads the token.
pub const CLIENT_TOKEN_VARIABLE: &str = "BENCH_CLIENT_TOKEN";

/// A location that nginx itself responds to, at once.
pub const RETURN: &str = "/return";

const REDLOCK: &str = include_str!("../../redlock.lua");
const DICTLOCK: &str = include_str!("../../dictlock.lua");

/// The parameters of a configuration.
pub struct Site<'a> {
    pub routes: &'a [Route],
    pub groups: &'a [Group],
    pub module: &'a Path,
    pub mock: u16,
    pub port: u16,
    /// The directory for files.
    pub dir: &'a Path,
}

impl Site<'_> {
    /// The configuration. Plain nginx gets `proxy_buffering off`, because the gateway never buffers
    /// event streams.
    pub fn config(&self) -> Result<String> {
        let (load, leases, auth) = if self.is_lua() {
            self.lua()?
        } else {
            self.module()?
        };
        let has_pools = self.routes.iter().any(|route| route.keys.is_some());
        let locks = match has_pools && !self.is_lua() {
            true => "location /v1/lock/ { openai_api on; }",
            false => "",
        };
        let locations: String = self.routes.iter().map(Route::location).collect();
        let (mock, port) = (self.mock, self.port);
        let http = format!(
            "{leases}
    upstream mock {{
        server 127.0.0.1:{mock};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_buffering off;

    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /status {{ {auth} stub_status; }}
        location = {RETURN} {{ return 200; }}
        {locks}
        {locations}
    }}
"
        );
        Ok(whole(&load, &http))
    }

    fn is_lua(&self) -> bool {
        self.routes.iter().any(|route| route.lease.lua().is_some())
    }

    fn module(&self) -> Result<(String, String, &'static str)> {
        let load = format!("load_module {};", self.module.display());
        let groups: String = self.groups.iter().map(Group::block).collect();
        let pools = self.pools()?;
        let leases = format!(
            "openai_zone openai:64m;
    {groups}{pools}
    openai_clients {{ client bench env:{CLIENT_TOKEN_VARIABLE}; }}
"
        );
        Ok((load, leases, "openai_auth off;"))
    }

    /// A configuration with Lua leases and without the module, so that neither affects the other.
    fn lua(&self) -> Result<(String, String, &'static str)> {
        let module = self.routes.iter().find_map(|route| route.lease.lua());
        let module = module.unwrap_or_default();
        for (name, text) in [("redlock", REDLOCK), ("dictlock", DICTLOCK)] {
            let file = self.dir.join(name).with_extension("lua");
            fs::write(file, text).while_doing("writing Lua")?;
        }
        // Each request has a timer, and the default limit is 256. A late node is not logged as an
        // error, as in the module.
        let leases = format!(
            "lua_package_path '{}/?.lua;;';
    lua_shared_dict leases 8m;
    lua_max_pending_timers 8192;
    lua_max_running_timers 8192;
    lua_socket_log_errors off;
    init_worker_by_lua_block {{ require('{module}').seed() }}
    {}",
            self.dir.display(),
            self.pools()?
        );
        Ok((load_lua(), leases, ""))
    }

    fn pools(&self) -> Result<String> {
        let pools = self.routes.iter().map(|r| r.pool(self.groups, self.dir));
        pools.collect()
    }
}

/// The directives that load OpenResty's Lua module.
pub fn load_lua() -> String {
    let modules = ["ndk_http_module", "ngx_http_lua_module"];
    modules
        .map(|module| format!("load_module /usr/lib/nginx/modules/{module}.so;\n"))
        .concat()
}

/// A whole configuration, from what to load and what to put into `http`.
pub fn whole(load: &str, http: &str) -> String {
    // If root starts nginx, the worker's default user is nobody, which has no access to the
    // directory.
    let user = if geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{load}
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    keepalive_requests 1000000000;

    {http}
}}
"
    )
}
