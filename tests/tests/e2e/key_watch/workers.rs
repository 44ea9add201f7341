//! Several workers, which see a change at different times; workers that die; reloads.

use e2e::{Gateway, Load, LoadOutcome, Plan, RawUpstream, post, stream_once, wait_for, wait_until};

use super::{events, key_of, next_key, path, plan, replace, start, wait_events, write};
use crate::reload::{end, stream};

fn requests(gateway: &Gateway, key: &str) -> u64 {
    let stats = gateway.mock().stats();
    stats.key(&format!("Bearer sk-e2e-{key}")).requests
}

/// Sixteen clients, whose requests take a few milliseconds each.
fn load(gateway: &Gateway) -> Load {
    let port = gateway.port();
    let head = "Content-Type: application/json\r\nX-Mock-Delay: 500us\r\n";
    let request = post(head, r#"{"model":"gpt-4o","stream":true}"#);
    Load::start(16, usize::MAX, move || {
        let request = request.clone();
        move |_| stream_once(port, &request)
    })
}

/// A file whose keys are these.
fn keys(names: impl IntoIterator<Item = usize>) -> String {
    let lines = names.into_iter().map(|name| format!("sk-e2e-{name}\n"));
    lines.collect()
}

#[track_caller]
fn two_workers(gateway: &mut Gateway) -> Vec<i32> {
    wait_for("both workers are there", || {
        let pids = gateway.nginx().worker_pids();
        (pids.len() == 2).then_some(pids)
    })
}

#[test]
fn no_request_fails_while_keys_come_and_go() {
    let gateway = plan(&keys(0..4)).workers(4).start();
    let load = load(&gateway);
    let rounds = 12;
    let mut gone = vec![];
    for round in 1..=rounds {
        load.wait_more(50);
        // One goes, one comes; in the end all at once.
        let first = if round < rounds { round } else { 100 };
        replace(&gateway, "keys", &keys(first..first + 4));
        wait_events(&gateway, "keys_changed", round);
        // Whatever was under way with the key that is gone is over.
        load.wait_more(160);
        gone.push((round - 1, requests(&gateway, &(round - 1).to_string())));
    }
    load.wait_more(200);
    let outcomes = load.stop();
    assert_eq!(
        outcomes.keys().collect::<Vec<_>>(),
        [&LoadOutcome::Complete],
        "{outcomes:?}"
    );
    for (key, then) in gone {
        assert!(then > 0, "{key} has done its part");
        let now = requests(&gateway, &key.to_string());
        assert_eq!(now, then, "{key} was used when it was gone");
    }
    for key in 100..104 {
        assert!(requests(&gateway, &key.to_string()) > 0, "{key} is used");
    }
    assert!(gateway.mock().stats().max_in_flight_of_a_key() <= 1);
    assert_eq!(
        events(&gateway, "keys_changed"),
        rounds,
        "one line a change"
    );
    gateway.wait_held(0, 0);
}

#[test]
fn workers_that_take_the_place_of_others_have_the_newest_keys() {
    let mut gateway = plan("sk-e2e-a\n").workers(2).loses_workers().start();
    write(&gateway, "keys", "sk-e2e-b\n");
    wait_events(&gateway, "keys_changed", 1);
    let old = two_workers(&mut gateway);
    for &pid in &old {
        gateway.nginx().kill_worker(pid);
    }
    wait_until("others have taken their places", || {
        let new = gateway.nginx().worker_pids();
        new.len() == 2 && !new.iter().any(|pid| old.contains(pid))
    });
    for _ in 0..10 {
        gateway.chat().send().expect_status(200);
    }
    assert_eq!((requests(&gateway, "a"), requests(&gateway, "b")), (0, 10));
    assert_eq!(events(&gateway, "keys_changed"), 1);
}

#[test]
fn a_worker_that_stands_still_catches_up() {
    let mut gateway = plan("sk-e2e-a\n").workers(2).start();
    let pids = two_workers(&mut gateway);
    for &stopped in &pids {
        gateway.nginx().stop_worker(stopped);
        let name = if stopped == pids[0] { "b" } else { "c" };
        let before = events(&gateway, "keys_changed");
        replace(&gateway, "keys", &format!("sk-e2e-{name}\n"));
        wait_events(&gateway, "keys_changed", before + 1);
        gateway.nginx().resume_worker(stopped);
    }
    let load = load(&gateway);
    load.wait_more(200);
    assert_eq!(
        load.stop().into_keys().collect::<Vec<_>>(),
        [LoadOutcome::Complete]
    );
    assert_eq!((requests(&gateway, "a"), requests(&gateway, "b")), (0, 0));
}

#[test]
fn workers_of_an_older_configuration_leave_keys_alone() {
    let (mut gateway, upstream) = start("sk-e2e-a\nsk-e2e-b\n");
    let running = stream(&gateway, &upstream);
    // Their pool would not have the key `c`.
    gateway.reload(|plan| plan.pool("main", "key file:{dir}/keys; key sk-e2e-c;"));
    for (round, names) in (1..).zip([&["d"][..], &["a", "d"], &["e"]]) {
        let lines = names.iter().map(|name| format!("sk-e2e-{name}\n"));
        write(&gateway, "keys", &lines.collect::<String>());
        wait_events(&gateway, "keys_changed", round);
        assert_eq!(gateway.held("main").slots, names.len() + 1);
    }
    for _ in 0..4 {
        assert!(["c", "e"].contains(&next_key(&gateway, &upstream).as_str()));
    }
    end(running);
}

#[test]
fn a_waiter_of_an_older_configuration_gets_a_key_that_is_gone_since() {
    let (mut gateway, upstream) = start("sk-e2e-a\nsk-e2e-b\n");
    let client = gateway.chat().spawn_events();
    let mut refused = upstream.accept();
    let cooling = key_of(&refused);
    refused.send("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let mut running = upstream.accept();
    running.begin_stream().event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    // The new configuration, and the file as the old worker reads it, are without that key.
    let left = key_of(&running);
    gateway.reload(|plan| plan.file("keys", &format!("sk-e2e-{left}\n")));
    let mut served = upstream.accept();
    assert_eq!(key_of(&served), cooling, "the other is busy");
    served.answer();
    waiting.join().expect("an answer").expect_status(200);
    end((events, running));
}

#[test]
fn a_reload_and_a_change_at_once_do_no_harm() {
    let mut gateway = plan(&keys(0..4)).workers(2).start();
    let load = load(&gateway);
    for round in 1..=5 {
        let file = path(&gateway, "keys");
        load.wait_more(50);
        // The reload writes the file, and may read it before or after the workers do.
        gateway.reload(|plan| plan.file("keys", &keys(round..round + 4)));
        std::fs::write(file, keys(round + 1..round + 5)).expect("it can be written");
        let slots = |gateway: &Gateway| gateway.held("main").slots;
        wait_until("the keys are the file's", || slots(&gateway) == 4);
    }
    let last = requests(&gateway, "9");
    load.wait_more(100);
    wait_until("the newest key is used", || requests(&gateway, "9") > last);
    let outcomes = load.stop();
    assert_eq!(
        outcomes.into_keys().collect::<Vec<_>>(),
        [LoadOutcome::Complete]
    );
    assert!(gateway.mock().stats().max_in_flight_of_a_key() <= 1);
    gateway.wait_held(0, 0);
}

#[test]
fn many_keys_may_change() {
    let all = |from: usize| keys(from..from + 5_000);
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .http("openai_key_watch 100ms; openai_zone openai:16m;")
        .workers(2)
        .file("keys", &all(0))
        .pool("main", "key file:{dir}/keys;")
        .upstream(upstream.address())
        .start();
    for round in 1..4 {
        replace(&gateway, "keys", &all(round * 5_000));
        wait_events(&gateway, "keys_changed", round);
        assert_eq!(gateway.held("main").slots, 5_000);
        let key: usize = next_key(&gateway, &upstream).parse().expect("a number");
        assert!((round * 5_000..(round + 1) * 5_000).contains(&key));
    }
}
