//! Key files that change while nginx runs.

mod files;
mod mistakes;
mod workers;

use std::fs;
use std::path::PathBuf;

use e2e::{Exchange, Gateway, Plan, RawUpstream, wait_until};

/// A plan whose pool `main` has the keys of a file that is looked at often.
fn plan(keys: &str) -> Plan {
    Plan::new()
        .http("openai_key_watch 100ms;")
        .file("keys", keys)
        .pool("main", "key file:{dir}/keys;")
}

fn start(keys: &str) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let plan = plan(keys).workers(2).upstream(upstream.address());
    (plan.start(), upstream)
}

pub(crate) fn path(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.dir().join(name)
}

/// Writes a file in place.
pub(crate) fn write(gateway: &Gateway, name: &str, keys: &str) {
    fs::write(path(gateway, name), keys).expect("the file can be written");
}

/// Puts another file in a file's place.
pub(crate) fn replace(gateway: &Gateway, name: &str, keys: &str) {
    write(gateway, "new", keys);
    fs::rename(path(gateway, "new"), path(gateway, name)).expect("it can be renamed");
}

/// How many lines of the error log report an event.
pub(crate) fn events(gateway: &Gateway, name: &str) -> usize {
    let text = gateway.error_log().text();
    let event = format!("\"event\":\"{name}\"");
    text.lines().filter(|line| line.contains(&event)).count()
}

#[track_caller]
pub(crate) fn wait_events(gateway: &Gateway, name: &str, wanted: usize) {
    wait_until(&format!("{name} has been logged {wanted} times"), || {
        events(gateway, name) == wanted
    });
}

pub(crate) fn key_of(exchange: &Exchange) -> String {
    exchange
        .header("authorization")
        .unwrap_or_default()
        .replace("Bearer sk-e2e-", "")
}

/// The key that the next request is sent with.
#[track_caller]
pub(crate) fn next_key(gateway: &Gateway, upstream: &RawUpstream) -> String {
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let key = key_of(&exchange);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    key
}
