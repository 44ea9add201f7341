//! Exchange of stats between this machine and the nodes: see [`crate::telemetry::sharing`].

use nginx_safe::{Level, is_first_worker};
use openai_core::redlock::{ErrorKind, NodeId, Value};
use serde_json::json;

use super::members::Member;
use super::with;
use crate::config::Main;
use crate::pool;
use crate::pool::taken_over::key_ids;
use crate::telemetry::{event, sharing};

/// Starts to share stats through the groups that pools use.
pub(super) fn start(main: &Main, members: &mut [Option<Member>]) {
    let in_use: Vec<_> = members.iter().map(Option::is_some).collect();
    sharing::start(main, key_ids(), &in_use);
    for (group, member) in members.iter_mut().enumerate() {
        if let (Some(member), Some(ms)) = (member, sharing::interval_ms(group)) {
            member.share.start(ms);
        }
    }
}

/// Starts the exchange of stats with a newly connected node.
pub(super) fn greet(group: usize, node: NodeId) {
    if is_first_worker() {
        sharing::opened(group, node);
        talk(group, node);
    }
}

/// Handles a node's reply, then sends the next command.
pub(super) fn answered(group: usize, node: NodeId, value: &Value) {
    if let Some(kind) = sharing::answered(group, node, value) {
        let name = with(group, |member, _, _| {
            member.group.node_name(node).to_owned()
        });
        let fields = json!({ "node": name, "reason": format!("{kind:?}") });
        event(Level::Warn, "stats_not_shared", fields);
    }
    talk(group, node);
}

/// Sends the latest stats to all connected nodes, when the worker exits.
pub(super) fn stop(members: &mut [Option<Member>]) {
    let Some(mut last) = sharing::stop() else {
        return;
    };
    for (at, member) in members.iter_mut().enumerate() {
        let Some(member) = member else { continue };
        for node in member.group.open_nodes() {
            for call in last.of(at, node, pool::random()) {
                member.group.share(node, call);
            }
        }
    }
}

/// Starts a new exchange with every node of a group.
pub(super) fn tick(group: u64) {
    let group = group as usize;
    let nodes = sharing::begin_round(group);
    if let Some(ms) = sharing::interval_ms(group) {
        with(group, |member, _, _| member.share.start(ms));
    }
    for node in 0..nodes.unwrap_or_default() {
        talk(group, NodeId(node as u8));
    }
}

/// Sends a node the next command, if there is one.
fn talk(group: usize, node: NodeId) {
    let Some(call) = sharing::next(group, node, pool::random()) else {
        return;
    };
    let is_sent = with(group, |member, _, _| member.group.share(node, call));
    if is_sent != Some(true) {
        let broken = Value::Error(ErrorKind::Disconnected);
        sharing::answered(group, node, &broken);
    }
}
