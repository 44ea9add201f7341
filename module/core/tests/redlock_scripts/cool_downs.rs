//! Cool-downs on nodes: storing, reading and notifications.

use openai_core::lease::Cause;
use openai_core::redlock::{CoolDown, Value};

use crate::bed::names;
use crate::server::{Connection, Server};

fn cool_down(cause: Cause, left_ms: u64) -> CoolDown {
    CoolDown {
        cause,
        failures: 2,
        left_ms,
    }
}

fn note(node: &mut Connection, cool_down: CoolDown) -> Value {
    node.call(&cool_down.note("k-1", &names()))
}

fn recalled(node: &mut Connection) -> Vec<(usize, CoolDown)> {
    let keys = ["k-0".to_owned(), "k-1".to_owned()];
    let answer = node.call(&CoolDown::recall(&keys, &names()));
    CoolDown::recalled(&answer, keys.len())
}

#[test]
#[ignore = "starts redis-server"]
fn a_longer_one_is_never_shortened() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    assert_eq!(recalled(&mut node), []);
    assert_eq!(
        note(&mut node, cool_down(Cause::RateLimited, 50_000)),
        Value::Int(1)
    );
    assert_eq!(
        note(&mut node, cool_down(Cause::InvalidKey, 40_000)),
        Value::Int(0)
    );
    let known = recalled(&mut node);
    let [
        (
            1,
            CoolDown {
                cause,
                failures: 2,
                left_ms,
            },
        ),
    ] = known[..]
    else {
        panic!("{known:?}");
    };
    assert_eq!(cause, Cause::RateLimited);
    assert!((40_000..=50_000).contains(&left_ms), "{left_ms}");
    assert_eq!(
        note(&mut node, cool_down(Cause::QuotaExceeded, 90_000)),
        Value::Int(1)
    );
    assert_eq!(recalled(&mut node)[0].1.cause, Cause::QuotaExceeded);
}

#[test]
#[ignore = "starts redis-server"]
fn it_ends_by_itself() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    note(&mut node, cool_down(Cause::RateLimited, 1));
    let key = names().cool_down("k-1");
    let ended = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        node.ask(&["EXISTS", &key]) == Value::Int(0)
    });
    assert!(ended);
}

#[test]
#[ignore = "starts redis-server"]
fn other_machines_are_told() {
    let server = Server::start(&[]);
    let (mut node, mut other) = (server.connect(), server.connect());
    other.ask(&["SUBSCRIBE", &names().cool_downs()]);
    note(&mut node, cool_down(Cause::QuotaExceeded, 5_000));
    let message = other.receive();
    let Value::Array(parts) = &message else {
        panic!("{message:?}");
    };
    let [_, _, Value::Bytes(text)] = parts.as_slice() else {
        panic!("{message:?}");
    };
    let told = CoolDown::of_message(text);
    assert_eq!(told, Some(("k-1", cool_down(Cause::QuotaExceeded, 5_000))));
    // The longer one may have been cancelled.
    note(&mut node, cool_down(Cause::RateLimited, 1_000));
    let shorter = format!("{:?}", other.receive());
    assert_ne!(shorter, format!("{message:?}"));
}

#[test]
#[ignore = "starts redis-server"]
fn a_node_that_may_not_publish_notes_it_all_the_same() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.ok(&[
        "ACL",
        "SETUSER",
        "quiet",
        "on",
        "nopass",
        "~*",
        "+@all",
        "resetchannels",
    ]);
    node.ok(&["AUTH", "quiet", "any"]);
    assert_eq!(
        note(&mut node, cool_down(Cause::QuotaExceeded, 5_000)),
        Value::Int(1)
    );
    assert_eq!(recalled(&mut node).len(), 1);
}

#[test]
#[ignore = "starts redis-server"]
fn a_record_by_hand_without_an_end_is_written_over() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.ok(&["SET", &names().cool_down("k-1"), "invalid_key 1"]);
    assert_eq!(recalled(&mut node), []);
    assert_eq!(
        note(&mut node, cool_down(Cause::RateLimited, 5_000)),
        Value::Int(1)
    );
    assert_eq!(recalled(&mut node).len(), 1);
}
