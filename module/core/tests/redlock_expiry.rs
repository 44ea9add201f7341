//! Public Redlock test cases, part two: extending and releasing before and after expiry, on nodes
//! that run the model of the scripts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "redlock_model/store.rs"]
mod model;

use model::Store;
use openai_core::redlock::reply;
use openai_core::redlock::{
    Candidates, Command, Drift, Fence, Holder, NodeId, Nonce, Proposal, Quorum, ReleaseCommand,
    ReleaseEvent, Renewal, RenewalAction, RenewalEvent, Slot, SlotLock, Timing, Unlock,
};

const TTL: u64 = 1_000;
const TIMING: Timing = Timing {
    ttl_ms: TTL,
    drift: Drift {
        ppm: 10_000,
        margin_ms: 2,
    },
};

fn proposal() -> Proposal {
    Proposal {
        candidates: Candidates::in_order(vec![Slot::new("k", 0).unwrap()]).unwrap(),
        nonce: Nonce(7),
        ttl_ms: TTL,
        fence: Fence::new(100).unwrap(),
        holder: Holder::default(),
        quarantine_ms: 0,
        bootstrap: false,
    }
}

/// Three nodes, and a lease acquired on them at time 0.
fn three_nodes_with_a_lease() -> (Vec<Store>, SlotLock) {
    let mut stores = vec![Store::default(); 3];
    let command = Command::Acquire(proposal().into());
    for store in &mut stores {
        store.run(&command, 0);
    }
    let lease = SlotLock {
        slot: Slot::new("k", 0).unwrap(),
        nonce: Nonce(7),
        fence: Fence::new(100).unwrap(),
        deadline_ms: TIMING.deadline(0),
    };
    (stores, lease)
}

/// Releases the lease everywhere; returns on how many nodes it was held.
fn unlock(stores: &mut [Store], lease: &SlotLock, now: u64) -> u64 {
    let mut release = Unlock::new(Quorum::of(3).unwrap());
    let command = Command::Release(ReleaseCommand {
        slots: [lease.slot.clone()].into(),
        nonce: lease.nonce,
        ends: None,
    });
    let (mut released, mut decided) = (0, 0);
    for (node, store) in (0..).map(NodeId).zip(stores) {
        let count = reply::release(&store.run(&command, now)).unwrap().count;
        released += count;
        decided += u32::from(release.step(ReleaseEvent::Answered(node, count)));
    }
    assert_eq!(decided, 1, "one outcome");
    assert!(release.is_over() && release.is_gone());
    released
}

#[test]
fn a_release_is_decided_once() {
    use ReleaseEvent::{Answered, Failed};
    let node = NodeId;
    for (events, decides) in [
        (
            [Answered(node(0), 1), Answered(node(1), 1), Failed(node(2))],
            1,
        ),
        (
            [Answered(node(0), 0), Answered(node(1), 0), Failed(node(2))],
            1,
        ),
        (
            [Answered(node(0), 1), Answered(node(1), 0), Failed(node(2))],
            2,
        ),
        ([Failed(node(0)), Failed(node(1)), Failed(node(2))], 2),
    ] {
        let mut release = Unlock::new(Quorum::of(3).unwrap());
        for (at, event) in events.into_iter().enumerate() {
            assert_eq!(release.step(event), at == decides, "{events:?}, {at}");
            assert!(!release.step(event), "an answer that comes twice");
        }
        assert!(release.is_over() && !release.is_gone());
    }
}

#[test]
fn unlocking_before_and_after_expiry() {
    let (mut stores, lease) = three_nodes_with_a_lease();
    assert_eq!(unlock(&mut stores, &lease, 10), 3);
    assert_eq!(unlock(&mut stores, &lease, 11), 0, "twice");
    let (mut stores, lease) = three_nodes_with_a_lease();
    assert_eq!(unlock(&mut stores, &lease, TTL + 1), 0, "expired");
    assert!(
        stores.iter().all(|store| store.locks.is_empty()),
        "no lock is left"
    );
}

#[test]
fn unlocking_leaves_the_next_holder_alone() {
    let (mut stores, lease) = three_nodes_with_a_lease();
    let mut next = proposal();
    next.nonce = Nonce(8);
    next.fence = Fence::new(101).unwrap();
    for store in &mut stores {
        store.run(&Command::Acquire(next.clone().into()), TTL + 1);
    }
    assert_eq!(unlock(&mut stores, &lease, TTL + 2), 0);
    assert!(
        stores
            .iter()
            .all(|store| store.locks["k:0"].nonce == Nonce(8).to_string())
    );
}

fn extend(stores: &mut [Store], lease: &SlotLock, now: u64) -> Vec<RenewalAction> {
    let quorum = Quorum::of(3).unwrap();
    let batch = [lease.clone()];
    let (mut renewal, mut actions) = Renewal::new(quorum, TIMING, quorum.all(), &batch, now);
    let Some(RenewalAction::Send { to, command }) = actions.last().cloned() else {
        return actions;
    };
    actions.clear();
    for node in to.iter() {
        let value = stores[usize::from(node.0)].run(&command, now);
        let votes = reply::renew(&value, 1).unwrap();
        actions.extend(renewal.step(now, RenewalEvent::Voted(node, &votes)));
    }
    actions
}

#[test]
fn prolonging_before_and_after_expiry() {
    let (mut stores, mut lease) = three_nodes_with_a_lease();
    let extended = |at| {
        [RenewalAction::Extended {
            lease: 0,
            deadline_ms: at + TTL - 12,
        }]
    };
    assert_eq!(extend(&mut stores, &lease, 500), extended(500));
    lease.extend(TIMING.deadline(500));
    assert_eq!(
        extend(&mut stores, &lease, 1_487),
        extended(1_487),
        "up to the last"
    );
    assert_eq!(
        extend(&mut stores, &lease, 1_488),
        [RenewalAction::Lost {
            lease: 0,
            deadline_ms: 1_488
        }]
    );
}

#[test]
fn a_lease_that_nodes_forgot_is_put_back_unless_granted_since() {
    let (mut stores, lease) = three_nodes_with_a_lease();
    stores[0] = Store::default();
    stores[1] = Store::default();
    let extended = RenewalAction::Extended {
        lease: 0,
        deadline_ms: 100 + TTL - 12,
    };
    assert_eq!(extend(&mut stores, &lease, 100), [extended]);
    assert!(stores.iter().all(|store| store.locks.contains_key("k:0")));
    for store in &mut stores[..2] {
        store.locks.clear();
        store.fences.insert("k:0".into(), 101);
    }
    // Proposals made meanwhile may have been granted; a missing answer is not a vote yet.
    assert_eq!(
        extend(&mut stores, &lease, 200),
        [RenewalAction::Kept { lease: 0 }]
    );
    assert!(stores.iter().all(|store| store.locks.contains_key("k:0")));
    let extended = RenewalAction::Extended {
        lease: 0,
        deadline_ms: 300 + TTL - 12,
    };
    assert_eq!(extend(&mut stores, &lease, 300), [extended]);
}

#[test]
fn a_renewal_below_the_quorum_keeps_the_deadline_until_it_passes() {
    let (_, lease) = three_nodes_with_a_lease();
    let quorum = Quorum::of(3).unwrap();
    let start = || {
        Renewal::new(
            quorum,
            TIMING,
            quorum.all(),
            std::slice::from_ref(&lease),
            100,
        )
        .0
    };
    let prolonged = [reply::Renewed::Prolonged];
    let mut renewal = start();
    assert_eq!(
        renewal.step(110, RenewalEvent::Voted(NodeId(0), &prolonged)),
        []
    );
    assert_eq!(
        renewal.step(110, RenewalEvent::Voted(NodeId(0), &prolonged)),
        [],
        "one vote"
    );
    assert_eq!(renewal.step(160, RenewalEvent::Failed(NodeId(1))), []);
    let kept = [RenewalAction::Kept { lease: 0 }];
    assert_eq!(renewal.step(160, RenewalEvent::Failed(NodeId(2))), kept);
    // A late vote completes the quorum.
    let extended = [RenewalAction::Extended {
        lease: 0,
        deadline_ms: 100 + TTL - 12,
    }];
    assert_eq!(
        renewal.step(900, RenewalEvent::Voted(NodeId(2), &prolonged)),
        extended
    );
    // But not after the deadline.
    let mut renewal = start();
    assert_eq!(
        renewal.step(110, RenewalEvent::Voted(NodeId(0), &prolonged)),
        []
    );
    let lost = [RenewalAction::Lost {
        lease: 0,
        deadline_ms: TTL - 12,
    }];
    assert_eq!(
        renewal.step(988, RenewalEvent::Voted(NodeId(1), &prolonged)),
        lost
    );
}

#[test]
fn a_loss_names_what_can_outweigh_it() {
    let (_, lease) = three_nodes_with_a_lease();
    let quorum = Quorum::of(3).unwrap();
    let start = |at| {
        let batch = std::slice::from_ref(&lease);
        Renewal::new(quorum, TIMING, quorum.all(), batch, at).0
    };
    let lost = |deadline_ms| {
        [RenewalAction::Lost {
            lease: 0,
            deadline_ms,
        }]
    };
    // An end that has passed is none if any other renewal has moved it.
    let mut renewal = start(100);
    let late = renewal.step(lease.deadline_ms, RenewalEvent::Failed(NodeId(0)));
    assert_eq!(late, lost(lease.deadline_ms));
    // A denial is newer than what a renewal has extended that began earlier.
    let denied = [reply::Renewed::Taken];
    let mut renewal = start(100);
    assert_eq!(
        renewal.step(110, RenewalEvent::Voted(NodeId(0), &denied)),
        []
    );
    assert_eq!(
        renewal.step(110, RenewalEvent::Voted(NodeId(1), &denied)),
        lost(TIMING.deadline(100))
    );
}
