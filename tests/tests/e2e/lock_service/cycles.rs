//! Many services at once: a slot is never in two hands.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use e2e::Call;
use serde_json::{Value, json};

use super::{Bed, OTHER, STORES, TOKEN};

/// Who holds which slot, as its holders see it; and its last fence.
#[derive(Default)]
struct Seen {
    holders: HashMap<u64, String>,
    fences: HashMap<u64, u64>,
    cycles: usize,
}

impl Seen {
    fn taken(&mut self, lock: &Value) {
        let (slot, id) = (
            lock["slot"].as_u64().unwrap(),
            lock["lock_id"].as_str().unwrap(),
        );
        let before = self.holders.insert(slot, id.to_owned());
        assert_eq!(before, None, "slot {slot} is held already");
        let fence = lock["fence"].as_u64().unwrap();
        let last = self.fences.insert(slot, fence).unwrap_or_default();
        assert!(fence > last, "slot {slot}: fence {fence} after {last}");
        self.cycles += 1;
    }

    fn given_back(&mut self, lock: &Value) {
        let slot = lock["slot"].as_u64().unwrap();
        assert_eq!(
            self.holders.remove(&slot).as_deref(),
            lock["lock_id"].as_str()
        );
    }
}

/// One of so many services at work, until it ends or fails.
struct AtWork<'a>(&'a AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn services_never_share_a_slot() {
    contend(6);
}

#[test]
#[ignore = "some minutes; `make long`"]
fn services_never_share_a_slot_for_long() {
    contend(200);
}

/// 50 services contend for 5 slots beside clients that stream, with four workers, so many
/// times each.
fn contend(cycles: usize) {
    const SERVICES: usize = 50;
    for store in STORES {
        let bed = Bed::with(store, 5, "wait 60s;", "", |plan| plan.workers(4));
        let seen = Mutex::new(Seen::default());
        let streams = Mutex::new(0);
        let working = AtomicUsize::new(SERVICES);
        thread::scope(|scope| {
            for service in 0..SERVICES {
                let (bed, seen, working) = (&bed, &seen, &working);
                scope.spawn(move || {
                    let _at_work = AtWork(working);
                    cycle(bed, seen, service, cycles);
                });
            }
            for _ in 0..4 {
                scope.spawn(|| {
                    let chat = bed.gateway.chat().token(OTHER).keep_alive();
                    while working.load(SeqCst) > 0 {
                        let answer = chat.clone().send().expect_status(200);
                        assert_eq!(answer.said(), "powered by openai");
                        *streams.lock().unwrap() += 1;
                    }
                });
            }
            scope.spawn(|| {
                while working.load(SeqCst) > 0 {
                    let mut slots: Vec<_> = bed
                        .active()
                        .iter()
                        .map(|held| held["slot"].as_u64())
                        .collect();
                    let count = slots.len();
                    slots.dedup();
                    assert_eq!(slots.len(), count, "a listing shows a slot once");
                    assert!(count <= 5);
                }
            });
        });
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.cycles, SERVICES * cycles);
        assert!(seen.holders.is_empty());
        assert!(*streams.lock().unwrap() > 0, "streams had their turns");
        bed.gateway.wait_held(0, 0);
    }
}

fn cycle(bed: &Bed, seen: &Mutex<Seen>, service: usize, cycles: usize) {
    let name = format!("service-{service}");
    let call = |path: &str| Call::new("POST", bed.gateway.url(path)).token(TOKEN);
    let send = |call: &Call, body: Value| call.clone().body(body.to_string()).send();
    let [acquire, extend, release] =
        ["/v1/lock/acquire", "/v1/lock/extend", "/v1/lock/release"].map(call);
    for at in 0..cycles {
        let asked = json!({"service_name": name, "wait_ms": 60_000, "estimated_duration": 600,
                           "request_id": format!("{name}-{at}")});
        let answer = send(&acquire, asked).expect_status(200).json();
        let lock = &answer["lock_info"];
        seen.lock().unwrap().taken(lock);
        let own = json!({"lock_id": lock["lock_id"], "service_name": name,
                         "estimated_duration": 900});
        let longer = send(&extend, own.clone()).expect_status(200).json();
        assert_eq!(longer["lock_info"]["fence"], lock["fence"]);
        seen.lock().unwrap().given_back(lock);
        let given = send(&release, own).expect_status(200).json();
        assert_eq!(given["status"], "released");
    }
}
