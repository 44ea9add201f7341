//! Other Redlock clients, waiters, and nodes that come back empty.

use openai_core::redlock::{
    Command, ErrorKind, Fence, Nonce, ServerInfo, Value,
    reply::{self, Ballot, Refusal, RefusalCause, Released, Renewed},
};

use crate::bed::{LONG, acquire, ending, enqueue, names, proposal, release, renew, slot};
use crate::server::{Connection, Server};

/// The release script of the public specification.
const PLAIN_RELEASE: &str = "if redis.call('get',KEYS[1]) == ARGV[1] then \
                             return redis.call('del',KEYS[1]) else return 0 end";

fn ballot(node: &mut Connection, command: &Command) -> Ballot {
    let Command::Acquire(proposal) = command else {
        panic!("{command:?}");
    };
    let value = node.run(command, &names());
    reply::acquire(&value, &proposal.candidates).unwrap()
}

fn refusal(node: &mut Connection, command: &Command) -> Refusal {
    match ballot(node, command) {
        Ballot::Refused(refusal) => refusal,
        granted @ Ballot::Granted(_) => panic!("{granted:?}"),
    }
}

#[test]
#[ignore = "starts redis-server"]
fn another_redlock_client_is_respected_and_respects_us() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let (theirs, ours) = (names().lock(&slot(0)), names().lock(&slot(1)));
    node.ok(&["SET", &theirs, "their value", "NX", "PX", "60000"]);
    assert_eq!(
        ballot(&mut node, &acquire(&[0, 1], 7, 10)),
        Ballot::Granted(1)
    );
    let busy = refusal(&mut node, &acquire(&[0, 1], 8, 11));
    assert_eq!(
        (busy.cause, busy.free.is_empty()),
        (RefusalCause::Busy, true)
    );
    assert!(
        busy.wait_ms
            .is_some_and(|wait| wait > LONG / 2 && wait <= LONG)
    );
    // Neither can take the slot from the other.
    assert_eq!(
        node.ask(&["SET", &ours, "their value", "NX", "PX", "60000"]),
        Value::Nil
    );
    assert_eq!(
        node.ask(&["EVAL", PLAIN_RELEASE, "1", &ours, "their value"]),
        Value::Int(0)
    );
    let given_up = node.run(&release(&[0], 7), &names());
    assert_eq!(reply::release(&given_up).map(|r| r.count), Ok(0));
    let renewed = node.run(&renew(&[(0, 7, 10)], LONG), &names());
    assert_eq!(reply::renew(&renewed, 1), Ok(vec![Renewed::Taken]));
    // In both cases the slot becomes free for the other.
    assert_eq!(
        node.ask(&["EVAL", PLAIN_RELEASE, "1", &theirs, "their value"]),
        Value::Int(1)
    );
    assert_eq!(ballot(&mut node, &acquire(&[0], 9, 12)), Ballot::Granted(0));
    let value = node.texts(&["GET", &ours]).remove(0);
    assert!(value.starts_with(&Nonce(7).to_string()), "{value}");
    assert_eq!(
        node.ask(&["EVAL", PLAIN_RELEASE, "1", &ours, &value]),
        Value::Int(1)
    );
    node.ok(&["SET", &ours, "their value", "NX", "PX", "60000"]);
}

#[test]
#[ignore = "starts redis-server"]
fn a_lock_without_end_tells_no_wait() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.ok(&["SET", &names().lock(&slot(0)), "for ever"]);
    assert_eq!(refusal(&mut node, &acquire(&[0], 7, 10)).wait_ms, None);
}

#[test]
#[ignore = "starts redis-server"]
fn a_fence_that_is_too_low_is_refused_with_the_one_to_exceed() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let high = 1_700_000_000_000_001;
    assert_eq!(
        ballot(&mut node, &acquire(&[0], 7, high)),
        Ballot::Granted(0)
    );
    node.run(&release(&[0], 7), &names());
    for low in [high - 1, high] {
        let refused = refusal(&mut node, &acquire(&[0], 8, low));
        assert_eq!(
            (refused.cause, refused.fence.get()),
            (RefusalCause::Fence, high)
        );
        assert!(refused.free.contains(0));
    }
    assert_eq!(
        ballot(&mut node, &acquire(&[0], 8, high + 1)),
        Ballot::Granted(0)
    );
    node.run(&release(&[0], 8), &names());
    // The highest fence, compared exactly.
    let max = Fence::MAX.get();
    assert_eq!(
        ballot(&mut node, &acquire(&[0], 9, max)),
        Ballot::Granted(0)
    );
    node.run(&release(&[0], 9), &names());
    assert_eq!(refusal(&mut node, &acquire(&[0], 9, max)).fence, Fence::MAX);
}

#[test]
#[ignore = "starts redis-server"]
fn a_node_without_a_guard_grants_nothing_but_prolongs() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let mut guarded = proposal(vec![slot(0)], 7, 10);
    guarded.quarantine_ms = LONG;
    let guarded = Command::Acquire(guarded.into());
    let first = refusal(&mut node, &guarded);
    assert_eq!(
        (first.cause, first.wait_ms),
        (RefusalCause::Quarantine, Some(LONG))
    );
    assert!(
        refusal(&mut node, &guarded)
            .wait_ms
            .is_some_and(|wait| wait <= LONG)
    );
    let renewed = node.run(&renew(&[(0, 6, 5)], LONG), &names());
    assert_eq!(reply::renew(&renewed, 1), Ok(vec![Renewed::Restored]));
    // A clock that went back.
    let future = (node.time() + LONG).to_string();
    node.ok(&["SET", &names().guard(), &future]);
    assert_eq!(refusal(&mut node, &guarded).wait_ms, Some(LONG));
    // Long enough ago.
    let past = (node.time() - LONG).to_string();
    node.ok(&["SET", &names().guard(), &past]);
    assert_eq!(refusal(&mut node, &guarded).cause, RefusalCause::Busy);
    node.ok(&["SET", &names().guard(), "not a number"]);
    let mut first_day = proposal(vec![slot(1)], 7, 10);
    (first_day.quarantine_ms, first_day.bootstrap) = (LONG, true);
    assert_eq!(
        ballot(&mut node, &Command::Acquire(first_day.into())),
        Ballot::Granted(0)
    );
}

#[test]
#[ignore = "starts redis-server"]
fn a_release_wakes_the_waiter_whose_turn_it_is() {
    let server = Server::start(&[]);
    let (mut node, mut waiter) = (server.connect(), server.connect());
    let channel = names().wake_channel("host-1").unwrap();
    waiter.ask(&["SUBSCRIBE", &channel]);
    for nonce in 1..=3 {
        node.run(&acquire(&[nonce as u32], nonce, 10), &names());
    }
    for (ticket, priority, others) in [(0xa, 0, 0), (0xb, 5, 1), (0xc, 5, 2), (0xb, 5, 2)] {
        let count = node.run(&enqueue(ticket, priority, LONG), &names());
        assert_eq!(reply::enqueue(&count), Ok(others));
    }
    node.run(&release(&[1], 9), &names()); // not its own: nobody is woken
    for (slot, ticket) in [(1, "b"), (2, "c"), (3, "a")] {
        let given_up = node.run(&release(&[slot], u128::from(slot)), &names());
        let next = Some(format!("host-1:{ticket}"));
        assert_eq!(reply::release(&given_up), Ok(Released { count: 1, next }));
        let message = [
            Value::Bytes(b"message".to_vec()),
            Value::Bytes(channel.clone().into()),
            Value::Bytes(format!("{ticket} k:{slot}").into()),
        ];
        assert_eq!(waiter.receive(), Value::Array(message.into()));
        let waiter = format!("host-1:{ticket}");
        let left = node.run(&Command::Leave { waiter }, &names());
        assert_eq!(left, Value::Int(1));
    }
    assert_eq!(node.ask(&["ZCARD", &names().queue()]), Value::Int(0));
}

#[test]
#[ignore = "starts redis-server"]
fn a_listing_shows_what_a_node_holds() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.run(&acquire(&[0], 7, 10), &names());
    node.ok(&["SET", &names().lock(&slot(2)), "theirs"]);
    let slots = (0..4).map(slot).collect();
    let value = node.run(&Command::List { slots }, &names());
    let held = reply::list(&value, 4).unwrap();
    assert_eq!(
        held.iter().map(|held| held.index).collect::<Vec<_>>(),
        [0, 2]
    );
    assert!(held[0].meta.starts_with(&format!("{}\n10\n", Nonce(7))));
    assert_eq!((held[1].meta.as_str(), held[1].left_ms), ("theirs", None));
}

#[test]
#[ignore = "starts redis-server"]
fn info_tells_whether_a_node_will_do() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let mut node = server.connect();
    let words = ["INFO", "server", "replication", "memory"];
    let info = ServerInfo::parse(&node.texts(&words)[0]).unwrap();
    assert_eq!(info.run_id.len(), 40);
    assert!(info.uptime_s < 60);
    assert_eq!(info.check(), Ok(()));
    node.ok(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert!(
        ServerInfo::parse(&node.texts(&words)[0])
            .unwrap()
            .check()
            .is_err()
    );
    assert_eq!(
        node.ask(&["NO-SUCH-COMMAND"]),
        Value::Error(ErrorKind::Other)
    );
}

#[test]
#[ignore = "starts redis-server"]
fn a_slot_is_taken_by_plain_commands_too() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let vote = |node: &mut Connection, nonce, fence| {
        let proposal = proposal(vec![slot(0)], nonce, fence);
        let value = node.take(&proposal, &names());
        reply::acquire(&value, &proposal.candidates)
    };
    // A node that may have lost data, or is new.
    assert_eq!(vote(&mut node, 7, 10), Err(ErrorKind::Unsure));
    node.run(&release(&[0], 7), &names());
    node.ok(&["SET", &names().guard(), "1700000000000"]);
    assert_eq!(vote(&mut node, 7, 11), Err(ErrorKind::Unsure));
    node.run(&release(&[0], 7), &names());
    // Without its expiry, it does not show the node's time. The script adds it.
    node.ok(&["SET", &names().guard(), "0"]);
    assert_eq!(vote(&mut node, 7, 12), Err(ErrorKind::Unsure));
    node.run(&release(&[0], 7), &names());
    assert_eq!(ballot(&mut node, &acquire(&[1], 6, 1)), Ballot::Granted(0));
    let before = node.time();
    let granted = node.take(&proposal(vec![slot(2)], 6, 1), &names());
    let shown = reply::granted_at(&granted).unwrap();
    assert!((before..=node.time()).contains(&shown), "{shown}");
    assert_eq!(vote(&mut node, 7, 13), Ok(Ballot::Granted(0)));
    let busy = vote(&mut node, 8, 20);
    assert!(matches!(
        busy,
        Ok(Ballot::Refused(refusal)) if refusal.cause == RefusalCause::Busy
    ));
    let renewed = node.run(&renew(&[(0, 7, 13)], LONG), &names());
    assert_eq!(reply::renew(&renewed, 1), Ok(vec![Renewed::Prolonged]));
    node.run(&release(&[0], 7), &names());
    // Below the fence proposed in vain, and equal to it.
    for low in [13, 20] {
        assert_eq!(vote(&mut node, 9, low), Err(ErrorKind::Unsure));
        let given_back = node.run(&release(&[0], 9), &names());
        assert_eq!(reply::release(&given_back).map(|r| r.count), Ok(1));
    }
    assert_eq!(vote(&mut node, 9, 21), Ok(Ballot::Granted(0)));
    node.ok(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(vote(&mut node, 10, 22), Err(ErrorKind::OutOfMemory));
}

/// Two workers extend a lock: the node keeps the longer time.
#[test]
#[ignore = "starts redis-server"]
fn a_lock_is_never_shortened() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.run(&acquire(&[0], 7, 10), &names());
    for ttl in [3 * LONG, 2 * LONG] {
        let renewed = node.run(&renew(&[(0, 7, 10)], ttl), &names());
        assert_eq!(reply::renew(&renewed, 1), Ok(vec![Renewed::Prolonged]));
    }
    let left = node.texts(&["PTTL", &names().lock(&slot(0))]).remove(0);
    let left: u64 = left.parse().unwrap();
    assert!(left > 2 * LONG, "{left} ms are left");
}

/// A renewal on another connection arrives after the release.
#[test]
#[ignore = "starts redis-server"]
fn a_lock_that_was_given_back_is_not_put_back() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let renewed = |node: &mut Connection, lease| {
        let value = node.run(&renew(&[lease], LONG), &names());
        reply::renew(&value, 1).unwrap().remove(0)
    };
    node.run(&acquire(&[0], 7, 10), &names());
    node.run(&release(&[0], 7), &names());
    assert_eq!(renewed(&mut node, (0, 7, 10)), Renewed::Restored);
    node.run(&ending(&[0], 7, Some(10)), &names());
    assert_eq!(renewed(&mut node, (0, 7, 10)), Renewed::Ended);
    let lock = names().lock(&slot(0));
    assert_eq!(node.ask(&["EXISTS", &lock]), Value::Int(0));
    // A lock that was set after its release is not extended, either.
    node.ok(&["SET", &lock, &format!("{}\n10", Nonce(7)), "PX", "60000"]);
    assert_eq!(renewed(&mut node, (0, 7, 10)), Renewed::Ended);
    assert_eq!(node.ask(&["EXISTS", &lock]), Value::Int(0));
    // Neither the next lock nor that of another slot is affected.
    node.run(&acquire(&[0, 1], 8, 11), &names());
    assert_eq!(renewed(&mut node, (0, 8, 11)), Renewed::Prolonged);
    node.ask(&["DEL", &lock]);
    node.run(&ending(&[0], 7, Some(10)), &names());
    assert_eq!(renewed(&mut node, (0, 8, 11)), Renewed::Restored);
    assert_eq!(renewed(&mut node, (1, 9, 3)), Renewed::Restored);
}
