//! Results for sequences of votes.

use super::strays::attempt;
use crate::redlock::reply::{Ballot, Refusal, RefusalCause};
use crate::redlock::*;

fn refused(node: u8, cause: RefusalCause, wait_ms: u64, free: &[usize]) -> AcquireEvent {
    let refusal = Refusal {
        cause,
        wait_ms: Some(wait_ms),
        fence: Fence::new(wait_ms).unwrap(),
        free: free.iter().copied().collect(),
    };
    AcquireEvent::Voted(NodeId(node), Ballot::Refused(refusal))
}

fn granted(node: u8, index: usize) -> AcquireEvent {
    AcquireEvent::Voted(NodeId(node), Ballot::Granted(index))
}

fn verdict(nodes: u8, slots: u32, events: &[AcquireEvent]) -> Option<AcquireAction> {
    let (mut acquire, _) = Acquisition::new(attempt(nodes, slots), 0);
    let actions = events
        .iter()
        .flat_map(|&event| acquire.step(7, event))
        .collect::<Vec<_>>();
    actions
        .into_iter()
        .find(|action| !matches!(action, AcquireAction::Release { .. }))
}

fn retry(candidates: &[usize]) -> Option<AcquireAction> {
    Some(AcquireAction::Retry {
        after_ms: 8,
        candidates: candidates.iter().copied().collect(),
    })
}

#[test]
fn a_split_vote_is_tried_again_with_what_may_be_free() {
    // Two nodes granted the first candidate and two the second; a quorum is three.
    let split = [granted(0, 0), granted(1, 0), granted(2, 1), granted(3, 1)];
    assert_eq!(
        verdict(4, 2, &split),
        retry(&[1]),
        "nodes 2 and 3 passed over the first"
    );
    let split = [
        granted(0, 0),
        granted(1, 1),
        refused(2, RefusalCause::Busy, 40, &[]),
    ];
    assert_eq!(verdict(3, 3, &split), retry(&[1, 2]));
    let low = [
        refused(0, RefusalCause::Fence, 9, &[1, 2]),
        refused(1, RefusalCause::Fence, 8, &[2]),
    ];
    assert_eq!(
        verdict(3, 3, &low),
        retry(&[1, 2]),
        "the third may yet say so"
    );
}

#[test]
fn refusals_teach_the_fence_that_a_quorum_wants_exceeded() {
    let (mut acquire, _) = Acquisition::new(attempt(3, 1), 0);
    for (node, fence) in [(0, 500), (1, 900), (2, 700)] {
        let _ = acquire.step(1, refused(node, RefusalCause::Fence, fence, &[0]));
    }
    assert_eq!(acquire.highest_fence().get(), 700);
}

#[test]
fn one_node_alone_cannot_drive_the_fences_up() {
    let (mut acquire, _) = Acquisition::new(attempt(3, 1), 0);
    let _ = acquire.step(1, refused(0, RefusalCause::Fence, Fence::MAX.get(), &[0]));
    let _ = acquire.step(1, granted(1, 0));
    let _ = acquire.step(1, granted(2, 0));
    assert_eq!(acquire.highest_fence(), Fence::default());
}

#[test]
fn quarantine_is_told_from_contention_and_from_failure() {
    let confined = |node, wait| refused(node, RefusalCause::Quarantine, wait, &[]);
    let busy = |node| refused(node, RefusalCause::Busy, 40, &[]);
    let quarantine = |wait_ms| {
        Some(AcquireAction::Failed(AcquireFailure::Quarantine {
            wait_ms,
        }))
    };
    let three = [confined(0, 300), confined(1, 200), confined(2, 100)];
    // Two nodes refuse, and the third alone is no quorum. The first that leaves quarantine makes
    // one.
    assert_eq!(verdict(3, 1, &three), quarantine(200));
    assert_eq!(verdict(1, 1, &[confined(0, 300)]), quarantine(300));
    let mixed = [
        confined(0, 300),
        AcquireEvent::TimedOut(NodeId(1)),
        granted(2, 0),
    ];
    assert_eq!(verdict(3, 1, &mixed), quarantine(300));
    let both = [
        AcquireEvent::TimedOut(NodeId(0)),
        AcquireEvent::TimedOut(NodeId(1)),
    ];
    assert_eq!(
        verdict(3, 1, &both),
        Some(AcquireAction::Failed(AcquireFailure::NoQuorum))
    );
    let mostly_busy = [confined(0, 300), busy(1), busy(2)];
    let wait_ms = Some(40);
    assert_eq!(
        verdict(3, 1, &mostly_busy),
        Some(AcquireAction::Failed(AcquireFailure::Busy { wait_ms }))
    );
}
