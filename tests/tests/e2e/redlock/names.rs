//! Nodes with host names, whose addresses change while nginx runs.

use std::net::Ipv4Addr;

use e2e::{Dns, Gateway, Redis, wait_until};

use super::{LOCK, holders, on_group, wait_states};

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The system knows this name as well, so nginx accepts it in its configuration.
const NAME: &str = "localhost";

/// A gateway with a group of which the first node is found by its name.
fn start(nodes: &[Redis], dns: &Dns, quarantine: &str) -> Gateway {
    let resolver = format!("resolver 127.0.0.1:{} ipv6=off valid=1s;", dns.port());
    let mut urls: Vec<_> = nodes.iter().map(Redis::url).collect();
    urls[0] = format!("redis://{NAME}:{}", nodes[0].port());
    let urls: String = urls.iter().map(|url| format!("node {url}; ")).collect();
    let group = format!(
        "{resolver} openai_redlock locks {{ {urls} node_timeout 2s; bootstrap on; {quarantine} }}"
    );
    let pool = "key sk-e2e-main-0001 id=main; store locks; lease_ttl 2s;";
    on_group(&group).pool("main", pool).start()
}

/// The first server is replaced by one at another address, which the name then has.
#[test]
fn a_name_that_moves_to_another_server() {
    let dns = Dns::start();
    dns.set(NAME, &[FIRST]);
    let mut nodes = Redis::group(3);
    let gateway = start(&nodes, &dns, "quarantine 10m;");
    wait_states(&gateway, "up,up,up");

    let moved = Redis::start_at(SECOND, nodes[0].port());
    nodes[0].kill();
    wait_states(&gateway, "down,up,up");
    gateway.chat().send().expect_status(200);
    dns.set(NAME, &[SECOND]);
    // The new server may not have the locks of the old one.
    wait_states(&gateway, "quarantined,up,up");
    gateway.chat().send().expect_status(200);
    nodes[2].kill();
    wait_states(&gateway, "quarantined,up,down");
    gateway.chat().send().expect_status(503);
    drop(moved);
}

#[test]
fn the_new_server_votes_after_its_quarantine() {
    let dns = Dns::start();
    dns.set(NAME, &[FIRST]);
    let mut nodes = Redis::group(3);
    let gateway = start(&nodes, &dns, "quarantine 2s;");
    wait_states(&gateway, "up,up,up");
    let port = nodes[0].port();
    nodes[0].kill();
    nodes[0] = Redis::start_at(SECOND, port);
    // Several addresses: all workers choose the same one.
    dns.set(NAME, &[Ipv4Addr::new(127, 0, 0, 3), SECOND]);
    wait_states(&gateway, "up,up,up");
    nodes[2].kill();
    wait_states(&gateway, "up,up,down");
    gateway.chat().send().expect_status(200);
    wait_until("no lock is left", || holders(&nodes[..2], LOCK) == 0);
}

/// Without an answer, the last known address is used.
#[test]
fn a_dns_server_that_does_not_answer() {
    let dns = Dns::start();
    dns.silence(true);
    let mut nodes = Redis::group(3);
    nodes[0].kill();
    let gateway = start(&nodes, &dns, "quarantine 2s;");
    wait_states(&gateway, "down,up,up");
    let reason = format!("Connection refused (os error 111); {NAME} could not be looked up: ");
    wait_until("both errors are logged", || {
        gateway.error_log().text().contains(&reason)
    });
    nodes[0].restart();
    wait_states(&gateway, "up,up,up");

    // The last known address is now that of the last answer.
    dns.set(NAME, &[SECOND]);
    dns.silence(false);
    let port = nodes[0].port();
    nodes[0].kill();
    nodes[0] = Redis::start_at(SECOND, port);
    wait_states(&gateway, "up,up,up");
    dns.silence(true);
    nodes[0].kill();
    let asked = dns.asked();
    wait_until("the name is looked up again", || dns.asked() > asked);
    nodes[0].restart();
    wait_states(&gateway, "up,up,up");
}

/// A server counts once.
#[test]
fn a_name_with_the_address_of_another_node() {
    let dns = Dns::start();
    dns.set(NAME, &[SECOND]);
    let mut nodes = Redis::group(3);
    let port = nodes[0].port();
    nodes[1] = Redis::start_at(SECOND, port);
    let gateway = start(&nodes, &dns, "");
    wait_states(&gateway, "down,up,up");
    let reason = "another node has the same address";
    wait_until("the reason is logged", || {
        gateway.error_log().text().contains(reason)
    });
    dns.set(NAME, &[FIRST]);
    wait_states(&gateway, "up,up,up");
}
