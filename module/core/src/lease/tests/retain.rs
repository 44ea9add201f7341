//! Retained locks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::bed::{Bed, TTL, pool};
use crate::lease::record::slot_state;
use crate::lease::*;

const RETAIN: Retain = Retain {
    idle_ms: 50,
    longest_ms: 300,
    most: 8,
};

const RULE: HandOver = HandOver {
    to_others: true,
    most: 1_000,
    longest_ms: None,
    left_ms: 500,
    generation: 1,
    retain: Some(RETAIN),
};

fn bed(slots: u32) -> Bed {
    Bed::new(&pool("p", &[(1, slots, 1)], Balance::RoundRobin))
}

fn lock_it(bed: &mut Bed, lease: Grant, nonce: u128) -> Grant {
    let lock = Lock::new(nonce, 1_024 * nonce as u64, bed.now + TTL);
    bed.zone().locked(lease.handle, lock).unwrap()
}

fn end_by(bed: &mut Bed, grant: Grant, rule: HandOver) -> Ended {
    let now = bed.clock();
    bed.zone().end(grant.handle, rule, now).unwrap()
}

/// A bed with one slot, two workers, and a lock that the first worker has just retained.
fn retained() -> (Bed, [WorkerId; 2], Grant) {
    let mut bed = bed(1);
    let workers = [bed.worker(1), bed.worker(2)];
    let lease = bed.acquire(workers[0]).unwrap();
    let held = lock_it(&mut bed, lease, 77);
    let until_ms = bed.now + 50;
    assert_eq!(end_by(&mut bed, held, RULE), Ended::Retained { until_ms });
    (bed, workers, held)
}

fn reclaim(bed: &mut Bed, grant: Grant) -> Reclaimed {
    bed.zone()
        .reclaim(grant.handle, grant.lock.unwrap().nonce())
}

#[test]
fn the_next_lease_of_any_worker_gets_the_lock_with_the_next_fence() {
    let (mut bed, workers, first) = retained();
    let (pool, mut last) = (bed.pool, first);
    assert_eq!(bed.zone().gauges(pool).held, 0);
    assert_eq!(bed.zone().gauges(pool).retained, 1);
    for worker in [workers[1], workers[0], workers[1]] {
        let next = bed.acquire(worker).unwrap();
        assert_eq!(next.lock, first.lock);
        assert_eq!(next.fence, last.fence + 1);
        assert_eq!(next.deadline_ms, first.deadline_ms);
        assert_eq!(bed.zone().gauges(pool).retained, 0);
        assert!(bed.acquire(worker).is_none(), "granted twice");
        // The worker that retained the lock before has nothing to release.
        assert_eq!(reclaim(&mut bed, last), Reclaimed::InUse);
        assert!(matches!(
            end_by(&mut bed, next, RULE),
            Ended::Retained { .. }
        ));
        assert_eq!(reclaim(&mut bed, last), Reclaimed::InUse);
        last = next;
    }
}

#[test]
fn an_unused_lock_is_released_by_its_worker_and_nobody_else_gets_the_slot_before() {
    let (mut bed, [_, other], held) = retained();
    assert!(bed.zone().is_retained(held.handle));
    bed.now += 50;
    assert!(bed.acquire(other).is_none());
    assert_eq!(bed.zone().recalls(), 1);
    assert!(!bed.zone().is_retained(held.handle));
    let lock = held.lock.unwrap();
    assert_eq!(reclaim(&mut bed, held), Reclaimed::Release(lock));
    assert!(bed.acquire(other).is_none());
    bed.release(held).unwrap();
    assert_eq!(bed.acquire(other).unwrap().lock, None);
    assert_eq!(reclaim(&mut bed, held), Reclaimed::Gone);
}

#[test]
fn a_lock_whose_worker_hangs_ends_by_itself() {
    let (mut bed, [_, other], held) = retained();
    bed.now = held.lock.unwrap().deadline_ms - 1;
    assert!(bed.acquire(other).is_none());
    bed.now += 1;
    assert_eq!(bed.acquire(other).unwrap().lock, None);
}

#[test]
fn a_dead_workers_retained_lock_binds_until_it_ends() {
    let (mut bed, [worker, other], held) = retained();
    let now = bed.clock();
    bed.zone().dismiss(worker, now);
    let next = bed.worker(3);
    assert_eq!(next, worker, "the number is used again");
    assert!(bed.acquire(other).is_none());
    bed.now = held.lock.unwrap().deadline_ms;
    assert!(bed.acquire(next).is_some());
}

/// The request of the dead worker may still be served upstream.
#[test]
fn the_lock_of_a_dead_lease_is_not_released_by_the_worker_that_retained_it() {
    let (mut bed, [_, other], held) = retained();
    let next = bed.acquire(other).unwrap();
    assert_eq!(next.lock, held.lock);
    let now = bed.clock();
    bed.zone().dismiss(other, now);
    assert_eq!(reclaim(&mut bed, held), Reclaimed::InUse);
}

#[test]
fn a_lock_is_retained_only_within_the_limits() {
    let limits = [
        HandOver {
            to_others: false,
            ..RULE
        },
        HandOver {
            longest_ms: Some(1_000),
            ..RULE
        },
        HandOver {
            left_ms: TTL,
            ..RULE
        },
        HandOver {
            retain: Some(Retain { most: 0, ..RETAIN }),
            ..RULE
        },
        HandOver {
            retain: Some(Retain {
                longest_ms: 4,
                ..RETAIN
            }),
            ..RULE
        },
        HandOver {
            retain: None,
            ..RULE
        },
    ];
    for rule in limits {
        let mut bed = bed(1);
        let worker = bed.worker(1);
        let lease = bed.acquire(worker).unwrap();
        let held = lock_it(&mut bed, lease, 77);
        bed.now += 5;
        let lock = held.lock.unwrap();
        assert_eq!(
            end_by(&mut bed, held, rule),
            Ended::Locked(lock),
            "{rule:?}"
        );
    }
}

#[test]
fn a_lock_is_not_retained_past_the_time_that_a_lease_needs() {
    let mut bed = bed(1);
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let held = lock_it(&mut bed, lease, 77);
    bed.now += 480;
    let rule = HandOver {
        retain: Some(Retain {
            longest_ms: 1_000,
            ..RETAIN
        }),
        ..RULE
    };
    let until_ms = held.deadline_ms - rule.left_ms;
    assert_eq!(end_by(&mut bed, held, rule), Ended::Retained { until_ms });
}

#[test]
fn a_lock_is_not_retained_for_long_after_it_was_taken() {
    let (mut bed, [worker, _], first) = retained();
    bed.now += 40;
    for _ in 0..6 {
        let next = bed.acquire(worker).unwrap();
        assert_eq!(next.lock, first.lock);
        bed.now += 40;
        let until_ms = (bed.now + 50).min(10 + 300);
        assert_eq!(end_by(&mut bed, next, RULE), Ended::Retained { until_ms });
    }
    let next = bed.acquire(worker).unwrap();
    bed.now += 20;
    let lock = first.lock.unwrap();
    assert_eq!(end_by(&mut bed, next, RULE), Ended::Locked(lock));
}

#[test]
fn a_lock_serves_no_more_leases_than_it_has_fences() {
    let (mut bed, [worker, _], first) = retained();
    let mut ended = None;
    for n in 1..1_024 {
        let next = bed.acquire(worker).unwrap();
        assert_eq!(next.fence, first.fence + n);
        ended = Some(end_by(&mut bed, next, RULE));
    }
    assert_eq!(ended, Some(Ended::Locked(first.lock.unwrap())));
}

#[test]
fn a_waiter_comes_before_retention() {
    let mut bed = bed(1);
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let held = lock_it(&mut bed, lease, 77);
    bed.wait(worker, 0);
    assert_eq!(end_by(&mut bed, held, RULE), Ended::HandedOver);
}

#[test]
fn a_lock_that_a_waiter_may_not_have_is_released_for_it() {
    let mut bed = bed(1);
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let held = lock_it(&mut bed, lease, 77);
    bed.wait(worker, 0);
    let rule = HandOver { most: 0, ..RULE };
    let lock = held.lock.unwrap();
    assert_eq!(end_by(&mut bed, held, rule), Ended::Locked(lock));
}

#[test]
fn a_retained_slot_of_a_key_is_used_first() {
    let mut bed = bed(3);
    let worker = bed.worker(1);
    let leases: Vec<_> = (0..3).map(|_| bed.acquire(worker).unwrap()).collect();
    let held = lock_it(&mut bed, leases[1], 77);
    end_by(&mut bed, held, RULE);
    bed.release(leases[2]).unwrap();
    bed.release(leases[0]).unwrap();
    assert_eq!(bed.acquire(worker).unwrap().lock, held.lock);
    assert_eq!(bed.acquire(worker).unwrap().lock, None);
}

#[test]
fn another_configuration_does_not_get_the_lock_and_waits_for_its_release() {
    let (mut bed, _, held) = retained();
    bed.reload(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let new = bed.worker(3);
    assert!(bed.acquire(new).is_none());
    let (tag, _) = bed.wait(new, 0);
    assert_eq!(bed.zone().recalls(), 1);
    let lock = held.lock.unwrap();
    assert_eq!(reclaim(&mut bed, held), Reclaimed::Release(lock));
    bed.release(held).unwrap();
    assert_eq!(bed.served(new), [tag]);
}

#[test]
fn a_worker_of_an_old_configuration_retains_nothing() {
    let mut bed = bed(1);
    let old = bed.worker(1);
    let lease = bed.acquire(old).unwrap();
    let held = lock_it(&mut bed, lease, 77);
    bed.reload(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let lock = held.lock.unwrap();
    assert_eq!(end_by(&mut bed, held, RULE), Ended::Locked(lock));
}

#[test]
fn the_lock_of_a_removed_key_or_slot_is_released() {
    for keys in [vec![(1, 1, 1)], vec![(2, 1, 1)]] {
        let mut bed = bed(2);
        let worker = bed.worker(1);
        let leases: Vec<_> = (0..2).map(|_| bed.acquire(worker).unwrap()).collect();
        let held = lock_it(&mut bed, leases[1], 77);
        end_by(&mut bed, held, RULE);
        bed.release(leases[0]).unwrap();
        bed.reload(&pool("p", &keys, Balance::RoundRobin));
        let next = bed.worker(2);
        while let Some(grant) = bed.acquire(next) {
            assert_eq!(grant.lock, None, "{keys:?}");
        }
        assert_ne!(reclaim(&mut bed, held), Reclaimed::InUse);
        let _ = bed.release(held);
    }
}

#[test]
fn a_key_that_cools_down_grants_no_retained_lock() {
    let (mut bed, [worker, _], held) = retained();
    bed.answer(&held, openai_wire::Verdict::InvalidKey, &[]);
    assert!(bed.acquire(worker).is_none());
    let lock = held.lock.unwrap();
    assert_eq!(reclaim(&mut bed, held), Reclaimed::Release(lock));
}

#[test]
fn a_rebuilt_zone_keeps_retained_locks() {
    let (mut bed, [worker, _], held) = retained();
    let (now, pool) = (bed.clock(), bed.pool);
    bed.zone().recover(now);
    assert_eq!(bed.zone().gauges(pool).retained, 1);
    assert_eq!(bed.acquire(worker).unwrap().lock, held.lock);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    End(usize, bool),
    Pass(u64),
    Sweep(usize),
    Recover,
    Cancel(usize),
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3usize).prop_map(Step::Take),
        6 => (0..8usize, prop::bool::weighted(0.8)).prop_map(|(at, heard)| Step::End(at, heard)),
        3 => (1..80u64).prop_map(Step::Pass),
        3 => (0..3usize).prop_map(Step::Sweep),
        1 => Just(Step::Recover),
        1 => (0..3usize).prop_map(Step::Cancel),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..80)
}

/// Three workers that lock slots on one node, which detects a lock that two leases have, and one
/// that is deleted or replaced while a lease has it.
struct Machine {
    bed: Bed,
    workers: [WorkerId; 3],
    /// The nonce of each locked slot on the node.
    node: BTreeMap<(u32, u32), u128>,
    leases: Vec<Grant>,
    waiting: Vec<WaitTicket>,
    retained: [Vec<Grant>; 3],
    fences: BTreeMap<(u32, u32), u64>,
    last_nonce: u128,
}

fn place(grant: &Grant) -> (u32, u32) {
    (grant.key, grant.ordinal)
}

impl Machine {
    fn new() -> Self {
        let mut bed = bed(2);
        Self {
            workers: [bed.worker(1), bed.worker(2), bed.worker(3)],
            bed,
            node: BTreeMap::new(),
            leases: vec![],
            waiting: vec![],
            retained: [vec![], vec![], vec![]],
            fences: BTreeMap::new(),
            last_nonce: 0,
        }
    }

    fn begin(&mut self, lease: Grant) {
        let at = place(&lease);
        let held = match lease.lock {
            Some(lock) => {
                assert_eq!(self.node.get(&at), Some(&lock.nonce()), "not locked");
                lease
            }
            None => {
                assert_eq!(self.node.get(&at), None, "locked by an earlier lease");
                self.last_nonce += 1;
                self.node.insert(at, self.last_nonce);
                lock_it(&mut self.bed, lease, self.last_nonce)
            }
        };
        let before = self.fences.insert(at, held.fence);
        assert!(before < Some(held.fence), "fences rise");
        assert!(self.leases.iter().all(|other| place(other) != at));
        self.leases.push(held);
    }

    fn unlock(&mut self, grant: Grant, lock: Lock) {
        let at = place(&grant);
        if self.node.get(&at) == Some(&lock.nonce()) {
            let used = self.leases.iter().any(|other| place(other) == at);
            assert!(!used, "the lock of a lease was released");
            self.node.remove(&at);
        }
        let now = self.bed.clock();
        let _ = self.bed.zone().release(grant.handle, now);
    }

    fn collect(&mut self) {
        for worker in self.workers {
            let now = self.bed.clock();
            while let Some(served) = self.bed.zone().collect(worker, now) {
                self.begin(served.grant);
            }
        }
    }

    fn sweep(&mut self, at: usize) {
        for grant in std::mem::take(&mut self.retained[at]) {
            match reclaim(&mut self.bed, grant) {
                Reclaimed::Release(lock) => self.unlock(grant, lock),
                Reclaimed::InUse => {}
                Reclaimed::Gone => self.unlock(grant, grant.lock.unwrap()),
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Take(at) => match self.bed.acquire(self.workers[at]) {
                Some(lease) => self.begin(lease),
                None if self.waiting.len() < 3 => {
                    let (_, ticket) = self.bed.wait(self.workers[at], 0);
                    self.waiting.push(ticket);
                }
                None => {}
            },
            Step::End(at, to_others) if !self.leases.is_empty() => {
                let grant = self.leases.remove(at % self.leases.len());
                let rule = HandOver {
                    to_others,
                    generation: self.bed.generation,
                    left_ms: 100,
                    ..RULE
                };
                match end_by(&mut self.bed, grant, rule) {
                    Ended::Locked(lock) => self.unlock(grant, lock),
                    Ended::Retained { .. } => self.retained[at % 3].push(grant),
                    Ended::HandedOver => {}
                    Ended::Free => panic!("it had a lock"),
                }
            }
            // Leases are renewed, so that they do not end meanwhile.
            Step::Pass(ms) => {
                self.bed.now += ms;
                for grant in &self.leases {
                    let until = self.bed.now + TTL;
                    self.bed.zone().prolonged(grant.handle, until).unwrap();
                }
            }
            Step::Sweep(at) => self.sweep(at),
            Step::Recover => {
                let now = self.bed.clock();
                self.bed.zone().recover(now);
            }
            Step::Cancel(at) if !self.waiting.is_empty() => {
                let ticket = self.waiting.remove(at % self.waiting.len());
                if let Cancelled::Served(grant) = self.bed.zone().cancel(ticket) {
                    self.begin(grant);
                }
            }
            Step::Reload => {
                self.bed
                    .reload(&pool("p", &[(1, 2, 1)], Balance::RoundRobin));
                let next = self.bed.worker(9);
                let now = self.bed.clock();
                // The others keep their configuration; a new one takes a slot if it can.
                if let Some(lease) = self.bed.acquire(next) {
                    assert_eq!(lease.lock, None, "of another configuration");
                    self.begin(lease);
                    let grant = self.leases.pop().unwrap();
                    self.unlock(grant, grant.lock.unwrap());
                }
                self.bed.zone().dismiss(next, now);
            }
            _ => {}
        }
        self.collect();
        self.count();
    }

    /// Checks the counts against the records.
    fn count(&mut self) {
        let pool = self.bed.pool;
        let zone = self.bed.zone();
        let of = |state| zone.slots.iter().filter(|slot| slot.state == state).count() as u32;
        let held = of(slot_state::HELD);
        assert_eq!(zone.keys[0].in_use, held);
        assert_eq!(zone.gauges(pool).held, held);
        assert_eq!(zone.gauges(pool).retained, of(slot_state::RETAINED));
    }
}

proptest! {
    #[test]
    fn a_lock_belongs_to_one_lease_or_is_released(steps in steps()) {
        let mut machine = Machine::new();
        for step in steps {
            machine.step(step);
        }
        for _ in 0..8 {
            while !machine.leases.is_empty() {
                machine.step(Step::End(0, true));
            }
            machine.bed.now += 60;
            machine.bed.expire();
            (0..3).for_each(|at| machine.sweep(at));
            machine.collect();
        }
        prop_assert!(machine.node.is_empty(), "a lock is left: {:?}", machine.node);
        let pool = machine.bed.pool;
        prop_assert_eq!(machine.bed.zone().gauges(pool).held, 0);
        prop_assert_eq!(machine.bed.zone().gauges(pool).retained, 0);
    }
}
