//! Counting the votes on a proposal.

use super::node::{MAX_NODES, NodeId, NodeSet, Quorum};
use super::reply::{Ballot, Refusal, RefusalCause};
use super::slots::{Candidates, SlotSet};

/// State of a node's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VoteState {
    /// Not asked.
    Unasked,
    /// No answer yet.
    Pending,
    /// Voted.
    Voted(Ballot),
    /// Answered with an error, or not in time.
    Failed {
        /// Whether the node may have granted a candidate nevertheless.
        may_hold: bool,
    },
}

#[derive(Debug)]
pub(super) struct Tally {
    quorum: Quorum,
    standings: [VoteState; MAX_NODES as usize],
}

impl Tally {
    pub(super) fn new(quorum: Quorum, asked: NodeSet) -> Self {
        let mut standings = [VoteState::Unasked; MAX_NODES as usize];
        for (at, standing) in standings.iter_mut().enumerate() {
            if asked.contains(NodeId(at as u8)) {
                *standing = VoteState::Pending;
            }
        }
        Self { quorum, standings }
    }

    /// All configured nodes.
    fn nodes(&self) -> impl Iterator<Item = (NodeId, &VoteState)> {
        let standings = self.standings.iter().take(usize::from(self.quorum.nodes()));
        (0..).map(NodeId).zip(standings)
    }

    pub(super) fn of(&self, node: NodeId) -> VoteState {
        if node.0 >= self.quorum.nodes() {
            return VoteState::Unasked;
        }
        self.standings
            .get(usize::from(node.0))
            .copied()
            .unwrap_or(VoteState::Unasked)
    }

    pub(super) fn set(&mut self, node: NodeId, standing: VoteState) {
        if let Some(at) = self.standings.get_mut(usize::from(node.0)) {
            *at = standing;
        }
    }

    fn that(&self, is: impl Fn(&VoteState) -> bool) -> NodeSet {
        self.nodes()
            .filter(|(_, standing)| is(standing))
            .map(|(node, _)| node)
            .collect()
    }

    pub(super) fn pending(&self) -> NodeSet {
        self.that(|standing| *standing == VoteState::Pending)
    }

    pub(super) fn doubtful(&self) -> NodeSet {
        self.that(|standing| *standing == VoteState::Failed { may_hold: true })
    }

    pub(super) fn granted(&self, index: usize) -> NodeSet {
        self.that(|standing| *standing == VoteState::Voted(Ballot::Granted(index)))
    }

    /// The candidate with the most grants, and their number.
    pub(super) fn leader(&self, candidates: &Candidates) -> (usize, u8) {
        let counts = (0..candidates.slots().len()).map(|index| (index, self.granted(index).len()));
        // `max_by_key` returns the last of equal elements, so `rev` makes the first candidate win.
        counts
            .rev()
            .max_by_key(|&(_, count)| count)
            .unwrap_or_default()
    }

    /// Whether so many nodes failed or were not asked that no quorum is possible.
    pub(super) fn is_down(&self) -> bool {
        self.lacking() > self.quorum.spare()
    }

    fn lacking(&self) -> u8 {
        self.that(|standing| matches!(standing, VoteState::Unasked | VoteState::Failed { .. }))
            .len()
    }

    fn refusals(&self) -> impl Iterator<Item = Refusal> {
        self.nodes().filter_map(|(_, standing)| match standing {
            VoteState::Voted(Ballot::Refused(refusal)) => Some(*refusal),
            _ => None,
        })
    }

    /// Milliseconds until enough nodes are out of quarantine, if quarantine prevents a quorum.
    pub(super) fn quarantine(&self) -> Option<u64> {
        let confined = self
            .refusals()
            .filter(|refusal| refusal.cause == RefusalCause::Quarantine);
        let mut waits: Vec<u64> = confined
            .map(|refusal| refusal.wait_ms.unwrap_or(0))
            .collect();
        let missing = self.lacking() as usize + waits.len();
        let must_end = missing
            .checked_sub(usize::from(self.quorum.spare()))?
            .checked_sub(1)?;
        waits.sort_unstable();
        waits.get(must_end).copied()
    }

    /// Milliseconds until the first conflicting lock ends, if known.
    pub(super) fn first_end(&self) -> Option<u64> {
        self.refusals().filter_map(|refusal| refusal.wait_ms).min()
    }

    /// The candidates that a quorum may still grant in the next attempt.
    pub(super) fn open(&self, candidates: &Candidates) -> SlotSet {
        let free_at = |standing: &VoteState, index| match standing {
            VoteState::Pending => true,
            // The node skipped the candidates before the one that it granted.
            VoteState::Voted(Ballot::Granted(granted)) => index >= *granted,
            VoteState::Voted(Ballot::Refused(refusal)) => refusal.free.contains(index),
            VoteState::Unasked | VoteState::Failed { .. } => false,
        };
        let votes = |index: &usize| self.that(|standing| free_at(standing, *index)).len();
        (0..candidates.slots().len())
            .filter(|index| votes(index) >= self.quorum.needed())
            .collect()
    }
}
