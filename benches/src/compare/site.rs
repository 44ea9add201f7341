//! The configuration of an nginx: plain and gateway side by side, alike in all but the lease.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rustix::process::geteuid;

use crate::error::{Result, While};

/// The token that clients send; plain nginx passes it on, the gateway puts a key in its place.
pub const CLIENT_TOKEN: &str = "bench-client-token";
/// The variable that the gateway reads it from.
pub const CLIENT_TOKEN_VARIABLE: &str = "BENCH_CLIENT_TOKEN";

/// A location before the mock.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: &'static str,
    /// The keys of its own pool; none: plain `proxy_pass`.
    pub keys: Option<Keys>,
    /// Whether the gateway asks for the client's token.
    pub auth: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Keys {
    pub count: usize,
    pub slots: usize,
}

impl Route {
    pub const PLAIN: Self = Self {
        name: "plain",
        keys: None,
        auth: false,
    };

    pub const fn gateway(name: &'static str, count: usize, slots: usize) -> Self {
        Self {
            name,
            keys: Some(Keys { count, slots }),
            auth: false,
        }
    }

    pub const fn with_auth(mut self) -> Self {
        self.auth = true;
        self
    }

    /// Where chat requests go.
    pub fn path(&self) -> String {
        format!("/{}/v1/chat/completions", self.name)
    }

    fn location(&self) -> String {
        let pool = match &self.keys {
            Some(_) => format!("openai {};", self.name),
            None => String::new(),
        };
        let auth = if self.auth { "on" } else { "off" };
        format!(
            "location /{}/ {{ {pool} openai_auth {auth}; proxy_pass http://mock/; }}\n",
            self.name
        )
    }

    /// The pool's block; its keys go to a file in `dir`.
    fn pool(&self, dir: &Path) -> Result<String> {
        let Some(Keys { count, slots }) = self.keys else {
            return Ok(String::new());
        };
        let mut keys = String::new();
        for number in 0..count {
            let _ = writeln!(keys, "sk-bench-{}-{number:06}", self.name);
        }
        let file = dir.join(format!("{}.keys", self.name));
        fs::write(&file, keys).while_doing("writing the keys")?;
        Ok(format!(
            "openai_pool {} {{ key file:{} slots={slots}; }}\n",
            self.name,
            file.display()
        ))
    }
}

/// Both sides stream unbuffered: the gateway does so for every event stream, whatever
/// `proxy_buffering` says, so the comparison has to say it for plain nginx.
pub fn config(routes: &[Route], module: &Path, mock: u16, port: u16, dir: &Path) -> Result<String> {
    let pools: String = routes.iter().map(|r| r.pool(dir)).collect::<Result<_>>()?;
    let locations: String = routes.iter().map(Route::location).collect();
    // The worker of a root's nginx would be nobody, who may not enter the directory.
    let user = if geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let module = module.display();
    Ok(format!(
        "load_module {module};
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;

    openai_zone openai:64m;
    {pools}
    openai_clients {{ client bench env:{CLIENT_TOKEN_VARIABLE}; }}

    upstream mock {{
        server 127.0.0.1:{mock};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    keepalive_requests 1000000000;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_buffering off;

    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /status {{ openai_auth off; stub_status; }}
        {locations}
    }}
}}
"
    ))
}
