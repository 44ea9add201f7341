//! Release of useless grants.

use proptest::prelude::*;

use crate::redlock::reply::{Ballot, Refusal, RefusalCause};
use crate::redlock::*;

pub(super) fn attempt(nodes: u8, slots: u32) -> AcquireOptions {
    let quorum = Quorum::of(nodes).unwrap();
    let slots = (0..slots).map(|n| Slot::new("k", n).unwrap()).collect();
    AcquireOptions {
        quorum,
        ask: quorum.all(),
        proposal: Proposal {
            candidates: Candidates::in_order(slots).unwrap(),
            nonce: Nonce(7),
            ttl_ms: 1_000,
            fence: Fence::new(100).unwrap(),
            holder: Holder::default(),
            quarantine_ms: 1_000,
            bootstrap: false,
        },
        drift: Drift::default(),
        retry: RetryDelay {
            min_ms: 5,
            jitter_ms: 0,
        },
        random: 0,
    }
}

/// The released nodes and slots.
fn given_back(actions: &[AcquireAction]) -> Vec<(u8, String)> {
    let mut all = Vec::new();
    for action in actions {
        if let AcquireAction::Release { to, command } = action {
            for node in to.iter() {
                all.extend(
                    command
                        .slots
                        .iter()
                        .map(|slot| (node.0, slot.field().to_owned())),
                );
            }
        }
    }
    all
}

fn granted(node: u8, index: usize) -> AcquireEvent {
    AcquireEvent::Voted(NodeId(node), Ballot::Granted(index))
}

#[test]
fn the_winner_gives_back_other_slots_and_keeps_late_votes_for_its_own() {
    let (mut acquire, _) = Acquisition::new(attempt(5, 3), 0);
    let mut actions = acquire.step(1, granted(0, 2));
    actions.extend(acquire.step(1, granted(1, 0)));
    actions.extend(acquire.step(1, AcquireEvent::TimedOut(NodeId(4))));
    actions.extend(acquire.step(2, granted(2, 0)));
    assert_eq!(actions, [], "undecided");
    let won = acquire.step(3, granted(3, 0));
    assert!(
        matches!(won[0], AcquireAction::Won { index: 0, .. }),
        "{won:?}"
    );
    let hung = [(4, "k:1".to_owned()), (4, "k:2".to_owned())];
    assert_eq!(
        given_back(&won),
        [&[(0, "k:2".to_owned())][..], &hung].concat()
    );
    assert_eq!(acquire.step(90, granted(4, 0)), [], "one more node has it");
    let stray = acquire.step(91, granted(4, 1));
    assert_eq!(
        given_back(&stray),
        [(4, "k:1".to_owned())],
        "it was asked twice"
    );
    assert!(acquire.is_drained());
}

#[test]
fn a_vote_that_comes_after_the_lease_was_given_back_is_a_stray() {
    let (mut acquire, _) = Acquisition::new(attempt(3, 1), 0);
    let _ = acquire.step(1, granted(0, 0));
    let won = acquire.step(1, granted(1, 0));
    assert!(matches!(won[..], [AcquireAction::Won { .. }]));
    assert_eq!(acquire.step(2, AcquireEvent::Abandoned), []);
    let late = acquire.step(3, granted(2, 0));
    assert_eq!(given_back(&late), [(2, "k:0".to_owned())]);
}

#[test]
fn a_client_that_leaves_leaves_nothing() {
    let (mut acquire, _) = Acquisition::new(attempt(3, 2), 0);
    let _ = acquire.step(1, granted(0, 1));
    let gone = acquire.step(2, AcquireEvent::Abandoned);
    assert_eq!(given_back(&gone), [(0, "k:1".to_owned())]);
    assert_eq!(
        gone.last(),
        Some(&AcquireAction::Failed(AcquireFailure::Abandoned))
    );
    assert!(!acquire.is_drained());
    for node in 1..3 {
        let late = acquire.step(3, granted(node, 0));
        assert_eq!(given_back(&late), [(node, "k:0".to_owned())]);
    }
    assert!(acquire.is_drained());
}

#[test]
fn what_certainly_did_not_run_is_not_given_back() {
    for (kind, owed) in [(ErrorKind::OutOfMemory, 0), (ErrorKind::Disconnected, 2)] {
        let (mut acquire, _) = Acquisition::new(attempt(1, 2), 0);
        let failed = acquire.step(1, AcquireEvent::Erred(NodeId(0), kind));
        assert_eq!(given_back(&failed).len(), owed, "{kind:?}");
        assert_eq!(
            failed.last(),
            Some(&AcquireAction::Failed(AcquireFailure::NoQuorum))
        );
    }
}

fn any_event(nodes: u8, slots: usize) -> impl Strategy<Value = AcquireEvent> {
    let node = (0..nodes).prop_map(NodeId);
    prop_oneof![
        5 => (node.clone(), 0..slots).prop_map(|(node, at)| AcquireEvent::Voted(node, Ballot::Granted(at))),
        2 => (node.clone(), 0u16..8).prop_map(|(node, free)| {
            AcquireEvent::Voted(node, Ballot::Refused(Refusal {
                cause: if free == 0 { RefusalCause::Busy } else { RefusalCause::Fence },
                wait_ms: Some(9),
                fence: Fence::new(u64::from(free)).unwrap(),
                free: (0..3).filter(|at| free & (1 << at) != 0).collect(),
            }))
        }),
        1 => node.clone().prop_map(AcquireEvent::TimedOut),
        1 => node.prop_map(|node| AcquireEvent::Erred(node, ErrorKind::Garbage)),
    ]
}

proptest! {
    /// In any order of events, there is one result, and every grant is either part of the lock or
    /// released.
    #[test]
    fn every_grant_is_kept_or_given_back(
        nodes in 1u8..=9,
        events in prop::collection::vec(any_event(9, 3), 0..40),
    ) {
        let (mut acquire, _) = Acquisition::new(attempt(nodes, 3), 0);
        let (mut actions, mut grants) = (Vec::new(), Vec::new());
        for event in events {
            actions.extend(acquire.step(5, event));
            if let AcquireEvent::Voted(node, Ballot::Granted(at)) = event && node.0 < nodes {
                grants.push((node.0, format!("k:{at}")));
            }
        }
        for node in acquire.pending().iter() {
            actions.extend(acquire.step(6, AcquireEvent::TimedOut(node)));
        }
        let verdicts: Vec<_> =
            actions.iter().filter(|action| !matches!(action, AcquireAction::Release { .. })).collect();
        prop_assert_eq!(verdicts.len(), 1, "{:?}", actions);
        let kept = match verdicts[0] {
            AcquireAction::Won { lease, .. } => Some(lease.slot.field().to_owned()),
            _ => None,
        };
        let back = given_back(&actions);
        // A node that grants two candidates has one of them released, even if that is the acquired
        // slot. The released grant does not count.
        let counted: std::collections::BTreeSet<_> =
            grants.iter().filter(|grant| !back.contains(grant)).collect();
        prop_assert!(counted.iter().all(|grant| Some(&grant.1) == kept.as_ref()), "{:?}", actions);
        prop_assert!(kept.is_none() || counted.len() > usize::from(nodes / 2), "{:?}", actions);
    }
}

/// A node that was late may still lock the slot.
#[test]
fn an_attempt_is_heard_when_no_node_can_grant_anything_any_more() {
    let (mut acquire, _) = Acquisition::new(attempt(3, 1), 0);
    let _ = acquire.step(1, granted(0, 0));
    let _ = acquire.step(1, granted(1, 0));
    assert!(!acquire.is_drained());
    let _ = acquire.step(60, AcquireEvent::TimedOut(NodeId(2)));
    assert!(acquire.is_drained() && !acquire.is_heard());
    let _ = acquire.step(70, AcquireEvent::Erred(NodeId(2), ErrorKind::Disconnected));
    assert!(acquire.is_heard());
}
