//! One attempt to take a lease: from the proposal to the last late vote.

use std::sync::Arc;

use super::attempt::{Action, Attempt, Event, Failure};
use super::command::{Command, ReleaseCommand};
use super::fence::Fence;
use super::lease::Lease;
use super::node::{NodeId, NodeSet, Quorum};
use super::proposal::Proposal;
use super::reply::Ballot;
use super::slots::{Candidates, Slot};
use super::tally::{Standing, Tally};
use super::timing::{RetryDelay, Timing};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Won(usize),
    /// No lease, or none any more.
    Over,
}

/// One attempt to take a lease.
///
/// Decides at the vote that makes a quorum, or makes one impossible. Keep it and
/// feed it votes until [`Acquire::is_drained`]: it gives back what arrives late.
#[derive(Debug)]
pub struct Acquire {
    quorum: Quorum,
    proposal: Arc<Proposal>,
    retry: RetryDelay,
    random: u64,
    timing: Timing,
    start: u64,
    tally: Tally,
    /// The nodes that may yet do what they were asked.
    unheard: NodeSet,
    /// What each node that voted would not go below.
    fences: Vec<(NodeId, Fence)>,
    outcome: Outcome,
}

impl Acquire {
    /// Starts an attempt. The lease's validity counts from `now`.
    #[must_use]
    pub fn new(attempt: Attempt, now: u64) -> (Self, Vec<Action>) {
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
            outcome: Outcome::Open,
            proposal,
            quorum: attempt.quorum,
            retry: attempt.retry,
            random: attempt.random,
        };
        if acquire.tally.is_down() {
            // Hopeless: asking would only leave strays.
            acquire.outcome = Outcome::Over;
            acquire.tally = Tally::new(acquire.quorum, NodeSet::default());
            acquire.unheard = NodeSet::default();
            return (acquire, vec![Action::Failed(Failure::NoQuorum)]);
        }
        let command = Command::Acquire(Arc::clone(&acquire.proposal));
        (acquire, vec![Action::Send { to: ask, command }])
    }

    /// Takes note of an event.
    #[must_use]
    pub fn step(&mut self, now: u64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Event::Voted(node, _) | Event::Erred(node, _) = event {
            self.unheard.remove(node);
        }
        match event {
            Event::Voted(node, ballot) => self.voted(node, ballot, &mut actions),
            Event::Erred(node, kind) => self.failed(node, kind.may_have_run(), &mut actions),
            Event::TimedOut(node) => self.failed(node, true, &mut actions),
            Event::Abandoned if self.outcome == Outcome::Open => {
                self.lose(Action::Failed(Failure::Abandoned), &mut actions);
            }
            Event::Abandoned => self.outcome = Outcome::Over,
        }
        if self.outcome == Outcome::Open {
            self.decide(now, &mut actions);
        }
        actions
    }

    /// What was asked for: votes name candidates by their place in it.
    #[must_use]
    pub fn candidates(&self) -> &Candidates {
        &self.proposal.candidates
    }

    /// How many nodes have granted a candidate.
    #[must_use]
    pub fn grants(&self, index: usize) -> u8 {
        self.tally.granted(index).len()
    }

    /// The nodes that have not answered.
    #[must_use]
    pub fn pending(&self) -> NodeSet {
        self.tally.pending()
    }

    /// Whether it is decided and no node's first answer is outstanding. Nodes that
    /// timed out may still answer; what they say is best fed in, too.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outcome != Outcome::Open && self.tally.pending().is_empty()
    }

    /// Whether no node can grant anything any more. Until then a lock that was won must
    /// be given back by the connections that it was asked for on: a node that has not
    /// come to the proposal would take it up after a release that overtakes it.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.unheard.is_empty()
    }

    /// The fence that the next proposal must exceed for a quorum to take it; known
    /// once no vote is outstanding. A minority of nodes cannot drive it up.
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

    fn voted(&mut self, node: NodeId, ballot: Ballot, actions: &mut Vec<Action>) {
        let before = self.tally.of(node);
        if before == Standing::Unasked {
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
                Standing::Voted(Ballot::Granted(first)) if first != index => {
                    // The proposal reached it twice.
                    self.give_back(NodeSet::only(node), vec![index], actions);
                }
                _ => {
                    self.tally.set(node, Standing::Voted(ballot));
                    if !matches!(self.outcome, Outcome::Open) && self.outcome != Outcome::Won(index)
                    {
                        self.give_back(NodeSet::only(node), vec![index], actions);
                    }
                }
            },
            Ballot::Refused(_) => {
                if !matches!(before, Standing::Voted(Ballot::Granted(_))) {
                    self.tally.set(node, Standing::Voted(ballot));
                }
            }
        }
    }

    fn failed(&mut self, node: NodeId, may_hold: bool, actions: &mut Vec<Action>) {
        if self.tally.of(node) != Standing::Pending {
            return;
        }
        self.tally.set(node, Standing::Failed { may_hold });
        if may_hold {
            self.sweep(node, actions);
        }
    }

    /// Gives back whatever a node that seemed to fail may have granted, once it is
    /// known what is not wanted.
    fn sweep(&self, node: NodeId, actions: &mut Vec<Action>) {
        let wanted = match self.outcome {
            Outcome::Open => return,
            Outcome::Won(index) => Some(index),
            Outcome::Over => None,
        };
        let rest = (0..self.slots().len()).filter(|&index| Some(index) != wanted);
        self.give_back(NodeSet::only(node), rest.collect(), actions);
    }

    fn decide(&mut self, now: u64, actions: &mut Vec<Action>) {
        let needed = self.quorum.needed();
        let (index, grants) = self.tally.leader(&self.proposal.candidates);
        if !self.timing.worthwhile(self.start, now) {
            self.lose(Action::Failed(Failure::TooLate), actions);
        } else if grants >= needed {
            self.win(index, actions);
        } else if grants + self.tally.pending().len() < needed {
            let failure = self.failure(now);
            self.lose(failure, actions);
        }
    }

    fn win(&mut self, index: usize, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots().get(index).cloned() else {
            return;
        };
        self.outcome = Outcome::Won(index);
        let lease = Lease {
            slot,
            nonce: self.proposal.nonce,
            fence: self.proposal.fence,
            deadline_ms: self.timing.deadline(self.start),
        };
        actions.push(Action::Won { index, lease });
        self.give_back_all(actions);
    }

    fn lose(&mut self, verdict: Action, actions: &mut Vec<Action>) {
        self.outcome = Outcome::Over;
        self.give_back_all(actions);
        actions.push(verdict);
    }

    fn failure(&self, now: u64) -> Action {
        if self.tally.is_down() {
            return Action::Failed(Failure::NoQuorum);
        }
        if let Some(wait_ms) = self.tally.quarantine() {
            return Action::Failed(Failure::Quarantine { wait_ms });
        }
        let candidates = self.tally.open(&self.proposal.candidates);
        if candidates.is_empty() {
            let wait_ms = self.tally.first_end();
            return Action::Failed(Failure::Busy { wait_ms });
        }
        let elapsed = now.saturating_sub(self.start);
        Action::Retry {
            after_ms: self.retry.after(elapsed, self.random),
            candidates,
        }
    }

    /// Gives back what is already known not to be wanted.
    fn give_back_all(&self, actions: &mut Vec<Action>) {
        for index in 0..self.slots().len() {
            let nodes = self.tally.granted(index);
            if self.outcome != Outcome::Won(index) && !nodes.is_empty() {
                self.give_back(nodes, vec![index], actions);
            }
        }
        for node in self.tally.doubtful().iter() {
            self.sweep(node, actions);
        }
    }

    fn give_back(&self, to: NodeSet, indexes: Vec<usize>, actions: &mut Vec<Action>) {
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
        actions.push(Action::Release { to, command });
    }

    fn slots(&self) -> &[Slot] {
        self.proposal.candidates.slots()
    }
}
