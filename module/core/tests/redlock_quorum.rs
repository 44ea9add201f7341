//! Public Redlock test cases, part one: all combinations of nodes that grant, refuse, fail and
//! hang, and the clean-up after failed attempts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use openai_core::redlock::reply::{Ballot, Refusal, RefusalCause};
use openai_core::redlock::{
    AcquireAction, AcquireEvent, AcquireFailure, AcquireOptions, Acquisition, Candidates, Drift,
    ErrorKind, Fence, Holder, NodeId, NodeSet, Nonce, Proposal, Quorum, RetryDelay, Slot, SlotSet,
};

const TTL: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Grants,
    Refuses,
    Errs,
    Hangs,
}
use Conduct::{Errs, Grants, Hangs, Refuses};

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

fn attempt(nodes: u8) -> AcquireOptions {
    let quorum = Quorum::of(nodes).unwrap();
    AcquireOptions {
        quorum,
        ask: quorum.all(),
        proposal: proposal(),
        drift: Drift::default(),
        retry: RetryDelay {
            min_ms: 5,
            jitter_ms: 0,
        },
        random: 0,
    }
}

fn event(node: NodeId, conduct: Conduct) -> AcquireEvent {
    match conduct {
        Grants => AcquireEvent::Voted(node, Ballot::Granted(0)),
        Refuses => AcquireEvent::Voted(
            node,
            Ballot::Refused(Refusal {
                cause: RefusalCause::Busy,
                wait_ms: Some(300 + u64::from(node.0)),
                fence: Fence::default(),
                free: SlotSet::default(),
            }),
        ),
        Errs => AcquireEvent::Erred(node, ErrorKind::OutOfMemory),
        Hangs => AcquireEvent::TimedOut(node),
    }
}

/// All sequences of `nodes` conducts.
fn rows(nodes: u32) -> impl Iterator<Item = Vec<Conduct>> {
    (0..4usize.pow(nodes)).map(move |row| {
        let at = |node| [Grants, Refuses, Errs, Hangs][row / 4usize.pow(node) % 4];
        (0..nodes).map(at).collect()
    })
}

fn released_at(actions: &[AcquireAction]) -> NodeSet {
    let release = |action: &AcquireAction| match action {
        AcquireAction::Release { to, .. } => Some(*to),
        _ => None,
    };
    actions
        .iter()
        .filter_map(release)
        .flat_map(NodeSet::iter)
        .collect()
}

#[test]
fn every_mixture_of_nodes_is_decided_as_soon_as_it_can_be() {
    for nodes in 1..=5u8 {
        for row in rows(nodes.into()) {
            check_row(nodes, &row);
        }
    }
}

fn check_row(nodes: u8, row: &[Conduct]) {
    let quorum = Quorum::of(nodes).unwrap();
    let needed = usize::from(nodes / 2 + 1);
    assert_eq!(usize::from(quorum.needed()), needed);
    let (mut acquire, sent) = Acquisition::new(attempt(nodes), 50);
    assert!(matches!(&sent[..], [AcquireAction::Send { to, .. }] if *to == quorum.all()));
    let count = |of: &[Conduct], what| of.iter().filter(|&&conduct| conduct == what).count();
    let mut actions = Vec::new();
    let mut decided_at = None;
    for (at, &conduct) in row.iter().enumerate() {
        let now = 60 + at as u64;
        actions.extend(acquire.step(now, event(NodeId(at as u8), conduct)));
        let verdicts = actions
            .iter()
            .filter(|action| !matches!(action, AcquireAction::Release { .. }));
        let heard = &row[..=at];
        let can_win = count(heard, Grants) + row.len() - heard.len() >= needed;
        let decided = count(heard, Grants) >= needed || !can_win;
        assert_eq!(
            verdicts.count(),
            usize::from(decided),
            "{row:?} after {at}: {actions:?}"
        );
        if decided && decided_at.is_none() {
            decided_at = Some(at);
        }
    }
    let heard = &row[..=decided_at.unwrap()];
    let verdict = actions
        .iter()
        .find(|action| !matches!(action, AcquireAction::Release { .. }))
        .unwrap();
    let broken = count(heard, Errs) + count(heard, Hangs);
    match verdict {
        AcquireAction::Won { index: 0, lease } => {
            assert!(count(heard, Grants) >= needed, "{row:?}");
            assert_eq!(lease.deadline_ms, 50 + TTL - 12);
            assert_eq!(lease.fence, Fence::new(100).unwrap());
        }
        AcquireAction::Failed(AcquireFailure::NoQuorum) => {
            assert!(broken > row.len() - needed, "{row:?}");
        }
        AcquireAction::Failed(AcquireFailure::Busy { wait_ms }) => {
            let first = heard.iter().position(|&conduct| conduct == Refuses);
            assert_eq!(*wait_ms, first.map(|node| 300 + node as u64), "{row:?}");
        }
        // Even N: half of the nodes granted to us, and the rest may yet.
        AcquireAction::Retry { after_ms, .. } => {
            panic!("{row:?}: no slot is free on a quorum, retry after {after_ms}");
        }
        other => panic!("{row:?}: {other:?}"),
    }
    // A failed attempt leaves no locks behind, even where a grant was not seen.
    let released = released_at(&actions);
    for (at, &conduct) in row.iter().enumerate() {
        let won = matches!(verdict, AcquireAction::Won { .. });
        let owed = !won && matches!(conduct, Grants | Hangs);
        assert_eq!(
            released.contains(NodeId(at as u8)),
            owed,
            "{row:?}: node {at}, {actions:?}"
        );
    }
    assert!(acquire.is_drained());
    // A node that hung answers at last.
    for (at, _) in row
        .iter()
        .enumerate()
        .filter(|&(_, &conduct)| conduct == Hangs)
    {
        let node = NodeId(at as u8);
        let late = acquire.step(5_000, AcquireEvent::Voted(node, Ballot::Granted(0)));
        let owed = !matches!(verdict, AcquireAction::Won { .. });
        assert_eq!(
            released_at(&late).contains(node),
            owed,
            "{row:?}: late {late:?}"
        );
    }
}

#[test]
fn a_quorum_that_comes_too_late_is_none() {
    for elapsed in [0, 493, 494, 495, 988, 1_000, 5_000] {
        let (mut acquire, _send) = Acquisition::new(attempt(3), 50);
        let mut actions = Vec::new();
        for node in 0..2 {
            actions.extend(acquire.step(50 + elapsed, event(NodeId(node), Grants)));
        }
        let won = actions
            .iter()
            .any(|action| matches!(action, AcquireAction::Won { .. }));
        assert_eq!(won, elapsed < 494, "{elapsed}: {actions:?}");
        assert_eq!(released_at(&actions).is_empty(), won);
    }
}

#[test]
fn nodes_that_are_not_asked_still_count() {
    let mut lame = attempt(5);
    lame.ask = [NodeId(0), NodeId(1), NodeId(9)].into_iter().collect();
    let (acquire, actions) = Acquisition::new(lame.clone(), 0);
    assert_eq!(actions, [AcquireAction::Failed(AcquireFailure::NoQuorum)]);
    assert!(acquire.is_drained());
    lame.ask.insert(NodeId(4));
    let (mut acquire, _send) = Acquisition::new(lame, 0);
    assert_eq!(acquire.step(1, event(NodeId(0), Grants)), []);
    assert_eq!(
        acquire.step(1, event(NodeId(2), Grants)),
        [],
        "it was not asked"
    );
    assert_eq!(acquire.step(1, event(NodeId(1), Grants)), []);
    assert!(matches!(
        acquire.step(1, event(NodeId(4), Grants))[..],
        [AcquireAction::Won { .. }]
    ));
}
