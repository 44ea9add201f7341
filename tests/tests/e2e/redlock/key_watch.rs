//! Key files of pools with a `store` that change while nginx runs.

use e2e::{Load, LoadOutcome, Plan, RawUpstream, Redis, post, stream_once, wait_until};

use super::{group, holders, on_group, wait_states};
use crate::key_watch::{events, next_key, replace, wait_events, write};
use crate::reload;

fn plan(nodes: &[Redis], keys: &str) -> Plan {
    on_group(&group(nodes, "bootstrap on;"))
        .http("openai_key_watch 100ms;")
        .file("keys", keys)
        .pool("main", "key file:{dir}/keys; store locks;")
}

fn lock(id: &str) -> String {
    format!("{{main}}:l:{id}:0")
}

#[test]
fn new_keys_are_locked_and_old_locks_last_as_long_as_their_streams() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan(&nodes, "sk-e2e-a id=a\n")
        .workers(2)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let old = reload::stream(&gateway, &upstream);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    write(&gateway, "keys", "sk-e2e-b id=b slots=2\n");
    let mut exchange = upstream.accept();
    assert_eq!(crate::key_watch::key_of(&exchange), "b");
    wait_until("both keys are locked", || {
        holders(&nodes, &lock("a")) == 3 && holders(&nodes, &lock("b")) == 3
    });
    exchange.answer();
    waiting.join().expect("an answer").expect_status(200);
    let second = [
        reload::stream(&gateway, &upstream),
        reload::stream(&gateway, &upstream),
    ];
    reload::end(old);
    wait_until("the old key is given back", || {
        holders(&nodes, &lock("a")) == 0
    });
    second.into_iter().for_each(reload::end);
    gateway.wait_held(0, 0);
    assert_eq!(next_key(&gateway, &upstream), "b");
}

#[test]
fn an_id_that_names_locks_stays_what_it_is() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let mut gateway = plan(&nodes, "sk-e2e-a id=a\n")
        .upstream(upstream.address())
        .loses_workers()
        .start();
    wait_states(&gateway, "up,up,up");
    write(&gateway, "keys", "sk-e2e-a id=b\n");
    wait_events(&gateway, "keys_refused", 1);
    gateway
        .error_log()
        .wait_for("\\\"a\\\" would be \\\"b\\\" now");
    assert_eq!(next_key(&gateway, &upstream), "a");
    assert_eq!(gateway.logged(1)[0].key_id, "a");
    // A lock of a worker that is killed would stay until it expires.
    wait_until("the lock is given back", || {
        holders(&nodes, &lock("a")) == 0
    });
    gateway.wait_held(0, 0);
    // The worker that takes its place reads the file when it starts.
    let worker = gateway.nginx().worker_pids()[0];
    gateway.nginx().kill_worker(worker);
    wait_until("another has taken its place", || {
        let workers = gateway.nginx().worker_pids();
        workers.len() == 1 && workers[0] != worker
    });
    wait_states(&gateway, "up,up,up");
    assert_eq!(next_key(&gateway, &upstream), "a");
    assert_eq!(gateway.logged(2)[1].key_id, "a");
}

#[test]
fn keys_come_and_go_on_several_machines() {
    let nodes = Redis::group(3);
    let keys = |round: usize| {
        let line = |name| format!("sk-e2e-{name} id=k{name}\n");
        (round..round + 3).map(line).collect::<String>()
    };
    let first = plan(&nodes, &keys(0)).workers(2).start();
    let upstream = first.mock().addr().to_string();
    let second = plan(&nodes, &keys(0)).workers(2).upstream(upstream).start();
    let machines = [first, second];
    let loads = machines.each_ref().map(|machine| {
        wait_states(machine, "up,up,up");
        let port = machine.port();
        let head = "Content-Type: application/json\r\nX-Mock-Delay: 500us\r\n";
        let request = post(head, r#"{"model":"gpt-4o","stream":true}"#);
        Load::start(6, usize::MAX, move || {
            let request = request.clone();
            move |_| stream_once(port, &request)
        })
    });
    for round in 1..=5 {
        for (machine, load) in machines.iter().zip(&loads) {
            load.wait_more(20);
            replace(machine, "keys", &keys(round));
        }
        for machine in &machines {
            wait_until("the keys are taken", || {
                events(machine, "keys_changed") == round
            });
        }
    }
    for load in loads {
        load.wait_more(40);
        let outcomes = load.stop();
        assert_eq!(
            outcomes.into_keys().collect::<Vec<_>>(),
            [LoadOutcome::Complete]
        );
    }
    let stats = machines[0].mock().stats();
    assert!(stats.max_in_flight_of_a_key() <= 1, "{stats:?}");
    for machine in &machines {
        machine.wait_held(0, 0);
    }
}
