//! One attempt to acquire a lock: from the proposal to the last late vote.

use std::sync::Arc;

use super::attempt::{AcquireAction, AcquireEvent, AcquireFailure, AcquireOptions};
use super::command::{Command, ReleaseCommand};
use super::fence::Fence;
use super::lease::SlotLock;
use super::node::{NodeId, NodeSet, Quorum};
use super::proposal::Proposal;
use super::reply::Ballot;
use super::slots::{Candidates, Slot};
use super::tally::{Tally, VoteState};
use super::timing::{RetryDelay, Timing};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcquireState {
    Open,
    Won(usize),
    /// Failed, or abandoned before or after success.
    Over,
}

/// One attempt to acquire a lock.
///
/// The attempt is decided when a quorum has granted a candidate, when no quorum is possible any
/// more, or when the lock would end too soon. Pass votes to it until [`Acquisition::is_drained`]:
/// it releases grants that arrive late.
#[derive(Debug)]
pub struct Acquisition {
    quorum: Quorum,
    proposal: Arc<Proposal>,
    retry: RetryDelay,
    random: u64,
    timing: Timing,
    start: u64,
    tally: Tally,
    /// Nodes that may still execute the command.
    unheard: NodeSet,
    /// For each node that voted: the fence that it stated with a refusal, otherwise 0.
    fences: Vec<(NodeId, Fence)>,
    outcome: AcquireState,
}

impl Acquisition {
    /// Starts an attempt. The validity of the lock counts from `now`.
    #[must_use]
    pub fn new(attempt: AcquireOptions, now: u64) -> (Self, Vec<AcquireAction>) {
        let configured = attempt.quorum.all();
        let ask = attempt
            .ask
            .iter()
            .filter(|&node| configured.contains(node))
            .collect();
        let proposal = Arc::new(attempt.proposal);
        let mut acquire = Self {
            timing: Timing {
                ttl_ms: proposal.ttl_ms,
                drift: attempt.drift,
            },
            start: now,
            tally: Tally::new(attempt.quorum, ask),
            unheard: ask,
            fences: Vec::new(),
            outcome: AcquireState::Open,
            proposal,
            quorum: attempt.quorum,
            retry: attempt.retry,
            random: attempt.random,
        };
        if acquire.tally.is_down() {
            // No quorum is possible. Asking would only leave stray grants.
            acquire.outcome = AcquireState::Over;
            acquire.tally = Tally::new(acquire.quorum, NodeSet::default());
            acquire.unheard = NodeSet::default();
            return (
                acquire,
                vec![AcquireAction::Failed(AcquireFailure::NoQuorum)],
            );
        }
        let command = Command::Acquire(Arc::clone(&acquire.proposal));
        (acquire, vec![AcquireAction::Send { to: ask, command }])
    }

    /// Processes an event.
    #[must_use]
    pub fn step(&mut self, now: u64, event: AcquireEvent) -> Vec<AcquireAction> {
        let mut actions = Vec::new();
        if let AcquireEvent::Voted(node, _) | AcquireEvent::Erred(node, _) = event {
            self.unheard.remove(node);
        }
        match event {
            AcquireEvent::Voted(node, ballot) => self.voted(node, ballot, &mut actions),
            AcquireEvent::Erred(node, kind) => self.failed(node, kind.may_have_run(), &mut actions),
            AcquireEvent::TimedOut(node) => self.failed(node, true, &mut actions),
            AcquireEvent::Abandoned if self.outcome == AcquireState::Open => {
                self.lose(
                    AcquireAction::Failed(AcquireFailure::Abandoned),
                    &mut actions,
                );
            }
            AcquireEvent::Abandoned => self.outcome = AcquireState::Over,
        }
        if self.outcome == AcquireState::Open {
            self.decide(now, &mut actions);
        }
        actions
    }

    /// The candidates; votes refer to them by index.
    #[must_use]
    pub fn candidates(&self) -> &Candidates {
        &self.proposal.candidates
    }

    /// Number of nodes that have granted a candidate.
    #[must_use]
    pub fn grants(&self, index: usize) -> u8 {
        self.tally.granted(index).len()
    }

    /// The nodes that have neither answered nor timed out.
    #[must_use]
    pub fn pending(&self) -> NodeSet {
        self.tally.pending()
    }

    /// Whether the attempt is decided and each node has answered or timed out. Nodes that timed out
    /// may still answer; pass these votes, too.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outcome != AcquireState::Open && self.tally.pending().is_empty()
    }

    /// Whether no node can still execute the command. Until then an acquired lock must be
    /// released on the connections that carried the proposal. Otherwise the release could
    /// overtake the proposal, and the node would take the lock afterwards.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.unheard.is_empty()
    }

    /// The fence that the next proposal must exceed to be accepted by a quorum; 0 while votes are
    /// outstanding. A minority of nodes cannot raise it.
    #[must_use]
    pub fn highest_fence(&self) -> Fence {
        if !self.tally.pending().is_empty() {
            return Fence::default();
        }
        let mut fences: Vec<_> = self.fences.iter().map(|&(_, fence)| fence).collect();
        fences.sort_unstable();
        let needed = usize::from(self.quorum.needed());
        fences.get(needed - 1).copied().unwrap_or_default()
    }

    fn voted(&mut self, node: NodeId, ballot: Ballot, actions: &mut Vec<AcquireAction>) {
        let before = self.tally.of(node);
        if before == VoteState::Unasked {
            return;
        }
        if !self.fences.iter().any(|&(known, _)| known == node) {
            let fence = match ballot {
                Ballot::Granted(_) => Fence::default(),
                Ballot::Refused(refusal) => refusal.fence,
            };
            self.fences.push((node, fence));
        }
        match ballot {
            Ballot::Granted(index) if index >= self.slots().len() => {
                self.failed(node, true, actions);
            }
            Ballot::Granted(index) => match before {
                VoteState::Voted(Ballot::Granted(first)) if first != index => {
                    // The proposal reached the node twice.
                    self.give_back(NodeSet::only(node), vec![index], actions);
                }
                _ => {
                    self.tally.set(node, VoteState::Voted(ballot));
                    if !matches!(self.outcome, AcquireState::Open)
                        && self.outcome != AcquireState::Won(index)
                    {
                        self.give_back(NodeSet::only(node), vec![index], actions);
                    }
                }
            },
            Ballot::Refused(_) => {
                if !matches!(before, VoteState::Voted(Ballot::Granted(_))) {
                    self.tally.set(node, VoteState::Voted(ballot));
                }
            }
        }
    }

    fn failed(&mut self, node: NodeId, may_hold: bool, actions: &mut Vec<AcquireAction>) {
        if self.tally.of(node) != VoteState::Pending {
            return;
        }
        self.tally.set(node, VoteState::Failed { may_hold });
        if may_hold {
            self.sweep(node, actions);
        }
    }

    /// Releases all candidates except the acquired slot on a node that failed but may have granted
    /// one.
    fn sweep(&self, node: NodeId, actions: &mut Vec<AcquireAction>) {
        let wanted = match self.outcome {
            AcquireState::Open => return,
            AcquireState::Won(index) => Some(index),
            AcquireState::Over => None,
        };
        let rest = (0..self.slots().len()).filter(|&index| Some(index) != wanted);
        self.give_back(NodeSet::only(node), rest.collect(), actions);
    }

    fn decide(&mut self, now: u64, actions: &mut Vec<AcquireAction>) {
        let needed = self.quorum.needed();
        let (index, grants) = self.tally.leader(&self.proposal.candidates);
        if !self.timing.worthwhile(self.start, now) {
            self.lose(AcquireAction::Failed(AcquireFailure::TooLate), actions);
        } else if grants >= needed {
            self.win(index, actions);
        } else if grants + self.tally.pending().len() < needed {
            let failure = self.failure(now);
            self.lose(failure, actions);
        }
    }

    fn win(&mut self, index: usize, actions: &mut Vec<AcquireAction>) {
        let Some(slot) = self.slots().get(index).cloned() else {
            return;
        };
        self.outcome = AcquireState::Won(index);
        let lease = SlotLock {
            slot,
            nonce: self.proposal.nonce,
            fence: self.proposal.fence,
            deadline_ms: self.timing.deadline(self.start),
        };
        actions.push(AcquireAction::Won { index, lease });
        self.give_back_all(actions);
    }

    fn lose(&mut self, verdict: AcquireAction, actions: &mut Vec<AcquireAction>) {
        self.outcome = AcquireState::Over;
        self.give_back_all(actions);
        actions.push(verdict);
    }

    fn failure(&self, now: u64) -> AcquireAction {
        if self.tally.is_down() {
            return AcquireAction::Failed(AcquireFailure::NoQuorum);
        }
        if let Some(wait_ms) = self.tally.quarantine() {
            return AcquireAction::Failed(AcquireFailure::Quarantine { wait_ms });
        }
        let candidates = self.tally.open(&self.proposal.candidates);
        if candidates.is_empty() {
            let wait_ms = self.tally.first_end();
            return AcquireAction::Failed(AcquireFailure::Busy { wait_ms });
        }
        let elapsed = now.saturating_sub(self.start);
        AcquireAction::Retry {
            after_ms: self.retry.after(elapsed, self.random),
            candidates,
        }
    }

    /// Releases all grants that are known to be useless.
    fn give_back_all(&self, actions: &mut Vec<AcquireAction>) {
        for index in 0..self.slots().len() {
            let nodes = self.tally.granted(index);
            if self.outcome != AcquireState::Won(index) && !nodes.is_empty() {
                self.give_back(nodes, vec![index], actions);
            }
        }
        for node in self.tally.doubtful().iter() {
            self.sweep(node, actions);
        }
    }

    fn give_back(&self, to: NodeSet, indexes: Vec<usize>, actions: &mut Vec<AcquireAction>) {
        let slots: Arc<[Slot]> = indexes
            .into_iter()
            .filter_map(|index| self.slots().get(index).cloned())
            .collect();
        if slots.is_empty() {
            return;
        }
        let nonce = self.proposal.nonce;
        let ends = None;
        let command = ReleaseCommand { slots, nonce, ends };
        actions.push(AcquireAction::Release { to, command });
    }

    fn slots(&self) -> &[Slot] {
        self.proposal.candidates.slots()
    }
}
