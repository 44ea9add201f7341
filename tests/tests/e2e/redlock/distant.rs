//! Nodes that are some milliseconds away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use e2e::{Link, Load, Redis, Way, post, stream_once, wait_until};

use super::{LOCK, on_group, plan_with, states, wait_states};

/// A way to the server that takes so long in each direction.
fn distant(redis: &Redis, ms: u64) -> Link {
    let late = Way::Late(Duration::from_millis(ms));
    let link = Link::to(redis.port());
    link.set(late, late);
    link
}

fn url(link: &Link) -> String {
    format!("node redis://127.0.0.1:{};", link.port())
}

/// Until an answer to a question that is asked now is back: by then, all that is under way now has
/// arrived at the other end.
fn round_trip(link: &Link) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).expect("a link");
    stream.write_all(b"PING\r\n").expect("it takes bytes");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
}

/// Its answers, which come after the node timeout, are still of use: what it granted in vain is
/// given back.
#[test]
fn a_node_that_is_far_away_is_not_waited_for() {
    let nodes = Redis::group(2);
    let far = Redis::start();
    let link = distant(&far, 400);
    let more = format!("{} node_timeout 400ms;", url(&link));
    let gateway = plan_with(&nodes, &more, "").start();
    wait_states(&gateway, "up,up,up");
    let mut took: Vec<_> = (0..21)
        .map(|_| {
            let since = Instant::now();
            gateway.chat().send().expect_status(200);
            since.elapsed()
        })
        .collect();
    took.sort();
    // Its answer takes 800 ms.
    assert!(took[10] < Duration::from_millis(400), "{took:?}");
    gateway.wait_held(0, 0);
    // All votes have been asked for there by now.
    round_trip(&link);
    wait_until("nothing is left on it", || {
        far.ask(&format!("EXISTS {LOCK}")) == "0"
    });
}

#[test]
fn a_node_that_answers_too_late_is_suspect() {
    let nodes = Redis::group(2);
    let far = Redis::start();
    let link = distant(&far, 400);
    let more = format!("{} node_timeout 400ms;", url(&link));
    let gateway = plan_with(&nodes, &more, "").start();
    wait_states(&gateway, "up,up,up");
    wait_until("it is suspect", || {
        gateway.chat().send().expect_status(200);
        states(&gateway) == "up,up,suspect"
    });
}

#[test]
fn a_reload_under_load_with_nodes_that_are_far_away() {
    let nodes = Redis::group(3);
    let links: Vec<_> = nodes.iter().map(|redis| distant(redis, 5)).collect();
    let urls: String = links.iter().map(url).collect();
    let group = format!("openai_redlock locks {{ {urls} node_timeout 2s; bootstrap on; }}");
    let mut gateway = on_group(&group)
        .workers(2)
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main slots=20; store locks;",
        )
        .start();
    wait_states(&gateway, "up,up,up");
    let port = gateway.port();
    let load = Load::start(10, usize::MAX, move || {
        move |_| stream_once(port, &post("", r#"{"stream":true}"#))
    });
    load.disturb(3, 100, || gateway.reload(|plan| plan));
    load.wait_more(100);
    let outcomes = load.stop();
    assert_eq!(outcomes.len(), 1, "no error at all: {outcomes:?}");
}
