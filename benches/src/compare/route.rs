//! Locations in front of the mock, and their leases.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::error::{Result, While};

/// A location in front of the mock.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: &'static str,
    /// The keys of the location's pool; `None` for plain `proxy_pass`.
    pub keys: Option<Keys>,
    pub lease: Lease,
    /// Whether the gateway requires the client's token.
    pub auth: bool,
    /// Additional directives of the location.
    pub more: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct Keys {
    pub count: usize,
    pub slots: usize,
}

/// What keeps the leases of a route, and where.
#[derive(Clone, Copy, Debug)]
pub enum Lease {
    /// The module, in shared memory.
    Shm,
    /// The module, on the Redis servers of the named group.
    Redlock(&'static str),
    /// A Lua script, on the Redis servers of the site's only group.
    Lua,
    /// A Lua script, in a shared dictionary.
    LuaDict,
}

impl Lease {
    /// The name of the Lua script, if there is one.
    pub fn lua(self) -> Option<&'static str> {
        match self {
            Self::Lua => Some("redlock"),
            Self::LuaDict => Some("dictlock"),
            Self::Shm | Self::Redlock(_) => None,
        }
    }
}

/// A group of Redis servers.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: &'static str,
    pub ports: Vec<u16>,
    /// Additional directives of the group.
    pub more: &'static str,
}

impl Group {
    pub fn block(&self) -> String {
        let name = self.name;
        // On a busy machine votes can be late. They must not make the run fail.
        let mut block = format!("openai_redlock {name} {{ bootstrap on; node_timeout 500ms; ");
        for port in &self.ports {
            let _ = write!(block, "node redis://127.0.0.1:{port}; ");
        }
        let _ = writeln!(block, "{} }}", self.more);
        block
    }

    fn ports(&self) -> impl Iterator<Item = String> {
        self.ports.iter().map(u16::to_string)
    }
}

impl Route {
    pub const PLAIN: Self = Self {
        name: "plain",
        keys: None,
        lease: Lease::Shm,
        auth: false,
        more: "",
    };

    pub const fn gateway(name: &'static str, count: usize, slots: usize) -> Self {
        Self {
            name,
            keys: Some(Keys { count, slots }),
            lease: Lease::Shm,
            auth: false,
            more: "",
        }
    }

    pub const fn leased(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    pub const fn with_auth(mut self) -> Self {
        self.auth = true;
        self
    }

    pub const fn with(mut self, more: &'static str) -> Self {
        self.more = more;
        self
    }

    /// The path for chat requests.
    pub fn path(&self) -> String {
        format!("/{}/v1/chat/completions", self.name)
    }

    /// The path of the report on the route's Redis servers, if it has any.
    pub fn nodes_path(&self) -> Option<String> {
        let has_nodes = matches!(self.lease, Lease::Redlock(_));
        has_nodes.then(|| format!("/{}/nodes", self.name))
    }

    pub fn location(&self) -> String {
        let name = self.name;
        let auth = if self.auth { "on" } else { "off" };
        let lease = match (self.lease.lua(), self.keys) {
            (Some(module), _) => format!(
                "access_by_lua_block {{ require('{module}').access() }} \
                 log_by_lua_block {{ require('{module}').log() }}"
            ),
            (_, None) => format!("openai_auth {auth};"),
            (_, Some(_)) => format!("openai {name}; openai_auth {auth};"),
        };
        let more = self.more;
        let nodes = self.nodes_path().map_or_else(String::new, |path| {
            format!(
                "location = {path} {{ openai {name}; openai_auth off; return 200 $openai_pool_nodes; }}\n"
            )
        });
        format!("{nodes}location /{name}/ {{ {lease} {more} proxy_pass http://mock/; }}\n")
    }

    /// The configuration block of the pool. Its keys are written to a file in `dir`.
    pub fn pool(&self, groups: &[Group], dir: &Path) -> Result<String> {
        let Some(Keys { count, slots }) = self.keys else {
            return Ok(String::new());
        };
        let name = self.name;
        let mut keys = String::new();
        for number in 0..count {
            let _ = writeln!(keys, "sk-bench-{name}-{number:06}");
        }
        let file = dir.join(format!("{name}.keys"));
        fs::write(&file, keys).while_doing("writing the keys")?;
        let file = file.display();
        let keys = format!("key file:{file} slots={slots};");
        Ok(match self.lease {
            Lease::Shm => format!("openai_pool {name} {{ {keys} }}\n"),
            Lease::Redlock(group) => format!("openai_pool {name} {{ store {group}; {keys} }}\n"),
            Lease::Lua | Lease::LuaDict => {
                let ports: Vec<String> = groups.iter().flat_map(Group::ports).collect();
                let (ports, module) = (ports.join(", "), self.lease.lua().unwrap_or_default());
                format!(
                    "init_by_lua_block {{ require('{module}').setup({{ {ports} }}, '{file}') }}\n"
                )
            }
        })
    }
}
