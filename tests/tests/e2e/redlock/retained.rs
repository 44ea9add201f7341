//! A lock stays on the nodes after its request, for the next request of the machine.

use e2e::{Gateway, RawUpstream, Redis, wait_until};
use rustix::process::Signal;

use super::{LOCK, holders, number, plan_with, status, wait_gone, wait_states};
use crate::reload::{end, stream};

/// Usually longer than a test takes to send the next request.
const LONG: &str = "retain 900ms;";

fn start(nodes: &[Redis], in_group: &str, workers: usize) -> Gateway {
    let gateway = plan_with(nodes, in_group, "lease_ttl 1h;")
        .workers(workers)
        .start();
    wait_states(&gateway, "up,up,up");
    gateway
}

/// How many times a node has processed a command.
fn calls(redis: &Redis, command: &str) -> u64 {
    let text = redis.ask("INFO commandstats");
    let name = format!("cmdstat_{command}:calls=");
    let calls = text.lines().find_map(|line| line.strip_prefix(&name));
    calls
        .and_then(|rest| rest.split(',').next())
        .map_or(0, number)
}

fn sets(nodes: &[Redis]) -> u64 {
    nodes.iter().map(|redis| calls(redis, "set")).sum()
}

/// Sends requests one after the other until one was served with a retained lock.
#[track_caller]
fn reuse(gateway: &Gateway) {
    wait_until("a lock is reused", || {
        gateway.chat().send().expect_status(200);
        status(gateway)["reused"].as_u64() > Some(0)
    });
}

#[test]
fn requests_reuse_the_lock_without_a_command_to_the_nodes() {
    let nodes = Redis::group(3);
    let gateway = start(&nodes, LONG, 1);
    // A lock is retained for one second after it was taken at most.
    wait_until("ten requests have one lock", || {
        let before = sets(&nodes);
        let reused = status(&gateway)["reused"].as_u64().expect("a count");
        for _ in 0..10 {
            gateway.chat().send().expect_status(200);
        }
        let after = status(&gateway)["reused"].as_u64().expect("a count");
        // Scripts of other kinds do not set locks.
        after == reused + 10 && sets(&nodes) == before
    });
    let lines = gateway.logged(10);
    let mut fences: Vec<_> = lines.iter().map(|line| number(&line.fence)).collect();
    let logged = fences.clone();
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences, logged, "fences rise");
    wait_gone(&nodes, LOCK);
}

#[test]
fn another_worker_reuses_the_lock() {
    let nodes = Redis::group(3);
    let gateway = plan_with(&nodes, LONG, "lease_ttl 20s;")
        .workers(2)
        .location("add_header X-Worker $pid; add_header X-Fence $openai_fence;")
        .start();
    wait_states(&gateway, "up,up,up");
    let mut last = (String::new(), 0);
    wait_until("a worker has the lock of another one", || {
        let answer = gateway.chat().send().expect_status(200);
        let worker = answer.header("x-worker").expect("its worker").to_owned();
        let fence = number(answer.header("x-fence").expect("a fence"));
        assert!(fence > last.1, "fences rise");
        let is_next = fence == last.1 + 1 && worker != last.0;
        last = (worker, fence);
        is_next
    });
    wait_gone(&nodes, LOCK);
}

#[test]
fn an_unused_lock_is_released() {
    let nodes = Redis::group(3);
    let gateway = start(&nodes, "retain 100ms;", 1);
    reuse(&gateway);
    wait_gone(&nodes, LOCK);
    gateway.wait_held(0, 0);
}

#[test]
fn nothing_is_retained_by_default() {
    let nodes = Redis::group(3);
    let gateway = start(&nodes, "", 1);
    for _ in 0..5 {
        gateway.chat().send().expect_status(200);
    }
    let status = status(&gateway);
    assert_eq!(status["retained"], 0, "{status}");
    assert_eq!(status["reused"], 0, "{status}");
}

/// The lock would be valid for much longer than the other machine waits.
#[test]
fn another_machine_gets_the_slot() {
    let nodes = Redis::group(3);
    let machines = [(); 2].map(|()| start(&nodes, LONG, 1));
    reuse(&machines[0]);
    machines[1].chat().send().expect_status(200);
    machines[0].chat().send().expect_status(200);
    let counts = machines.each_ref().map(status);
    assert!(counts[1]["locked"].as_u64() > Some(0), "{counts:?}");
}

/// One machine always has requests, one after the other, for the only slot.
#[test]
fn a_machine_that_never_rests_does_not_keep_the_slot() {
    let nodes = Redis::group(3);
    let machines = [(); 2].map(|()| start(&nodes, LONG, 1));
    let [busy, other] = &machines;
    reuse(busy);
    let client = other.chat().spawn();
    wait_until("the other machine has its turn", || {
        busy.chat().send().expect_status(200);
        client.is_finished()
    });
    client.join().expect("an answer").expect_status(200);
}

#[test]
fn new_workers_get_the_slot_after_a_reload() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let mut gateway = plan_with(
        &nodes,
        LONG,
        "lease_ttl 20s; key sk-e2e-main-0002 id=other;",
    )
    .upstream(upstream.address())
    .start();
    wait_states(&gateway, "up,up,up");
    // So that the old worker does not end.
    let running = stream(&gateway, &upstream);
    let client = gateway.chat().spawn();
    upstream.accept().answer();
    client.join().expect("an answer").expect_status(200);
    gateway.reload(|plan| plan);
    let client = gateway.chat().spawn();
    upstream.accept().answer();
    client.join().expect("an answer").expect_status(200);
    end(running);
    wait_gone(&nodes, LOCK);
    wait_gone(&nodes, "{main}:l:other:0");
}

#[test]
fn a_worker_that_exits_releases_its_locks() {
    for signal in [Signal::QUIT, Signal::TERM] {
        let nodes = Redis::group(3);
        // Without a release, they would stay for an hour.
        let mut gateway = start(&nodes, "retain 1s;", 1);
        reuse(&gateway);
        gateway.chat().send().expect_status(200);
        assert_eq!(status(&gateway)["lost"], 0);
        gateway.nginx().signal(signal);
        wait_until("nginx has ended", || gateway.nginx().has_ended());
        wait_gone(&nodes, LOCK);
    }
}

#[test]
fn the_lock_of_a_killed_worker_ends() {
    let nodes = Redis::group(3);
    let mut gateway = plan_with(&nodes, "retain 1s;", "lease_ttl 2s; wait 30s;")
        .loses_workers()
        .start();
    wait_states(&gateway, "up,up,up");
    gateway.chat().send().expect_status(200);
    let worker = gateway.nginx().worker_pids()[0];
    gateway.nginx().kill_worker(worker);
    wait_until("it has been replaced", || {
        let workers = gateway.nginx().worker_pids();
        !workers.is_empty() && !workers.contains(&worker)
    });
    gateway.chat().send().expect_status(200);
    wait_until("nothing is held", || holders(&nodes, LOCK) == 0);
}
