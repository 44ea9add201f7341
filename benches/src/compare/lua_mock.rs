//! A mock in OpenResty's Lua, for comparison.

use std::fs;

use crate::error::{Result, While};
use crate::lab::Lab;
use crate::nginx::Nginx;
use crate::site::{load_lua, whole};

const LUA: &str = include_str!("../../mock.lua");

/// Starts an nginx that acts as a mock: words are 50 ms apart below `/paced/`, and without delay
/// below `/at-once/`.
pub fn start(lab: &Lab) -> Result<Nginx> {
    Nginx::configured(lab, |dir, port| {
        fs::write(dir.join("mock.lua"), LUA).while_doing("writing mock.lua")?;
        let http = format!(
            "lua_package_path '{}/?.lua;;';
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /at-once/ {{ content_by_lua_block {{ require('mock').stream(0) }} }}
        location /paced/ {{ content_by_lua_block {{ require('mock').stream(0.05) }} }}
    }}
",
            dir.display()
        );
        Ok(whole(&load_lua(), &http))
    })
}
