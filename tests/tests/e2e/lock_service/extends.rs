//! Locks that are prolonged by several at once, while nodes stand still.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Redis, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::{Bed, Store, code, group_plan, seconds, some, unix_now};

/// One key with one slot on three nodes, with these lines in the group.
fn bed(in_group: &str, workers: usize) -> Bed {
    let nodes = Redis::group(3);
    let pool = "key sk-e2e-main-0001 id=main; wait 60s;";
    let plan = group_plan(&nodes, in_group, pool, "").workers(workers);
    Bed::on(nodes, plan)
}

impl Bed {
    fn freeze(&self) {
        self.nodes.iter().for_each(Redis::pause);
    }

    fn thaw(&self) {
        self.nodes.iter().for_each(Redis::resume);
    }

    /// Waits until the gateway has read what it was sent before.
    fn pass(&self) {
        for _ in 0..3 {
            let _ = self.get("/system/info").send();
        }
    }

    /// For how long the nodes keep the lock of the slot, each.
    fn left(&self) -> Vec<i64> {
        let left = |redis: &Redis| redis.number("PTTL {main}:l:main:0");
        self.nodes.iter().map(left).collect()
    }
}

/// Each call is concluded by its own answers. What nodes keep for longer they go on keeping.
#[test]
fn extends_at_the_same_time_are_all_answered() {
    let bed = bed("node_timeout 10s;", 1);
    let lock = bed.lock(json!({"estimated_duration": 5}));
    for round in 0..4 {
        bed.freeze();
        let calls: Vec<_> = [60, 40, 20]
            .map(|seconds| {
                let call = bed.extension(&lock, seconds + round).spawn();
                bed.pass();
                call
            })
            .into();
        bed.thaw();
        for call in calls {
            call.join().expect("an answer").expect_status(200);
        }
        for left in bed.left() {
            assert!(left > 50_000, "{left} ms are left");
        }
    }
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

/// Renewals go on all the time, and none of their answers is taken for one to the call.
#[test]
fn an_extend_during_a_renewal_is_granted() {
    let bed = bed("node_timeout 10s; renew 10ms;", 1);
    let lock = bed.lock(json!({"estimated_duration": 60}));
    for round in 0..40 {
        let until = seconds(&lock["expires_at"]);
        let longer = bed.extend(&lock, 600 + round).expect_status(200).json();
        assert!(seconds(&longer["lock_info"]["expires_at"]) > until + 500);
    }
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

/// Too few nodes answer in time, and keep the lock for longer than its service has it.
#[test]
fn a_lock_that_could_not_be_prolonged_ends_when_it_was_to_end() {
    for gives_back in [true, false] {
        let bed = bed("node_timeout 500ms;", 2);
        let lock = bed.lock(json!({"estimated_duration": 6}));
        bed.freeze();
        let refused = bed.extend(&lock, 600);
        assert_eq!(code(&refused), (503, some("lock_unavailable")));
        bed.thaw();
        if gives_back {
            bed.release(&lock).expect_status(200);
        }
        let next = bed.lock(json!({"wait_ms": 30_000}));
        assert_ne!(next["lock_id"], lock["lock_id"]);
        bed.release(&next).expect_status(200);
        bed.wait_free();
    }
}

/// Nobody can be asked: that is said at once.
#[test]
fn an_extend_without_nodes_is_refused() {
    let mut bed = bed("node_timeout 10s;", 1);
    let lock = bed.lock(json!({"estimated_duration": 600}));
    bed.nodes.iter_mut().for_each(Redis::kill);
    wait_until("it is refused", || bed.extend(&lock, 900).status == 503);
    let again = bed.extend(&lock, 900);
    assert_eq!(code(&again), (503, some("lock_unavailable")));
    bed.nodes.iter_mut().for_each(Redis::restart);
    wait_until("it is granted", || bed.extend(&lock, 900).status == 200);
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

/// One that waits for the nodes when its connection to them breaks.
#[test]
fn an_extend_whose_nodes_go_is_refused() {
    let mut bed = bed("node_timeout 10s;", 1);
    let lock = bed.lock(json!({"estimated_duration": 600}));
    bed.freeze();
    let call = bed.extension(&lock, 900).spawn();
    bed.pass();
    bed.nodes.iter_mut().for_each(Redis::kill);
    let refused = call.join().expect("an answer");
    assert_eq!(code(&refused), (503, some("lock_unavailable")));
    bed.nodes.iter_mut().for_each(Redis::restart);
    wait_until("it is granted", || bed.extend(&lock, 900).status == 200);
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

/// A worker that is stopped gracefully stays for what it has asked the nodes.
#[test]
fn a_reload_drops_no_call() {
    for answered in [true, false] {
        let mut bed = bed("node_timeout 3s;", 1);
        let lock = bed.lock(json!({"estimated_duration": 60}));
        bed.freeze();
        let calls: Vec<_> = [600, 700]
            .map(|seconds| bed.extension(&lock, seconds).spawn())
            .into();
        bed.pass();
        bed.gateway.reload(|plan| plan);
        if answered {
            bed.thaw();
        }
        for call in calls {
            let status = call.join().expect("an answer").status;
            // On a machine that is slow to reload it may be too late.
            assert!([200, 503].contains(&status), "{status}");
            assert!(answered || status == 503, "{status}");
        }
        bed.thaw();
        wait_until("it is granted", || bed.extend(&lock, 900).status == 200);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn a_lock_is_prolonged_by_two_while_nodes_stand_still() {
    for workers in [1, 2, 4] {
        contend(Store::Shm, workers, Duration::from_millis(500));
        contend(Store::Redlock, workers, Duration::from_secs(2));
    }
}

#[test]
#[ignore = "some minutes; `make long`"]
fn a_lock_is_prolonged_by_two_while_nodes_stand_still_for_long() {
    for workers in [1, 2, 4] {
        for store in [Store::Shm, Store::Redlock] {
            contend(store, workers, Duration::from_secs(60));
        }
    }
}

/// Two threads prolong one lock every 50 ms, while nodes stand still at random.
fn contend(store: Store, workers: usize, time: Duration) {
    let bed = match store {
        Store::Shm => Bed::with(store, 1, "", "", |plan| plan.workers(workers)),
        Store::Redlock => bed("node_timeout 400ms; renew 200ms;", workers),
    };
    let seed = 7 + workers as u64;
    let (ended, granted, refused) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    // When the lock ends at the soonest, by what has been answered.
    let latest = AtomicI64::new(0);
    let lock = bed.lock(json!({"estimated_duration": 60}));
    thread::scope(|scope| {
        let threads: Vec<_> = [1, 2]
            .map(|thread| {
                let (bed, lock, latest) = (&bed, &lock, &latest);
                let (granted, refused) = (&granted, &refused);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed * thread);
                    let until = Instant::now() + time;
                    while Instant::now() < until {
                        let for_s = [60, 90, 300][random.random_range(0..3)];
                        let known = latest.load(SeqCst);
                        let asked_at = unix_now();
                        let answer = bed.extend(lock, for_s);
                        if answer.status == 200 {
                            let end = seconds(&answer.json()["lock_info"]["expires_at"]);
                            // Times are cut to seconds, and reported by two clocks.
                            let soonest = known.max(asked_at + for_s as i64) - 2;
                            assert!(end >= soonest, "ends at {end}, before {soonest}");
                            latest.fetch_max(end, SeqCst);
                            granted.fetch_add(1, SeqCst);
                        } else {
                            assert_eq!(code(&answer), (503, some("lock_unavailable")));
                            refused.fetch_add(1, SeqCst);
                        }
                        thread::sleep(Duration::from_millis(50));
                    }
                })
            })
            .into();
        scope.spawn(|| {
            let mut random = StdRng::seed_from_u64(seed);
            while !bed.nodes.is_empty() && !ended.load(SeqCst) {
                let some: Vec<_> = bed
                    .nodes
                    .iter()
                    .filter(|_| random.random_range(0..2) == 0)
                    .collect();
                some.iter().for_each(|redis| redis.pause());
                thread::sleep(Duration::from_millis(random.random_range(5..700)));
                some.iter().for_each(|redis| redis.resume());
                thread::sleep(Duration::from_millis(random.random_range(5..200)));
            }
            bed.thaw();
        });
        let results: Vec<_> = threads
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        ended.store(true, SeqCst);
        let failed = results.iter().any(Result::is_err);
        assert!(!failed, "{store:?}, {workers} workers, seed {seed}");
    });
    let (granted, refused) = (granted.into_inner(), refused.into_inner());
    #[expect(clippy::print_stdout, reason = "the long run prints its result")]
    {
        println!("{store:?}, {workers} workers: {granted} granted, {refused} refused");
    }
    assert!(granted > 0 && (store == Store::Redlock || refused == 0));
    check_end(&bed, &lock, latest.into_inner());
}

/// Everything is as reported, and nothing is stuck.
fn check_end(bed: &Bed, lock: &Value, latest: i64) {
    let longer = || {
        let answer = bed.extend(lock, 60);
        (answer.status == 200).then(|| seconds(&answer.json()["lock_info"]["expires_at"]))
    };
    let mut end = None;
    wait_until("it can be prolonged", || {
        end = longer();
        end.is_some()
    });
    assert!(end >= Some(latest - 2), "{end:?} is before {latest}");
    wait_until("the nodes keep it for as long as reported", || {
        let left_s = latest - unix_now() - 2;
        bed.left().iter().all(|&left| left >= left_s * 1_000)
    });
    assert_eq!(bed.active().len(), 1);
    bed.release(lock).expect_status(200);
    let next = bed.lock(json!({"wait_ms": 30_000}));
    bed.release(&next).expect_status(200);
    bed.wait_free();
}
