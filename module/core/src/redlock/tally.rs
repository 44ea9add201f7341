//! The votes on one proposal, counted.

use super::node::{MAX_NODES, NodeId, NodeSet, Quorum};
use super::reply::{Ballot, Cause, Refusal};
use super::slots::{Candidates, SlotSet};

/// What is known of a node's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was not asked.
    Unasked,
    /// It has not answered.
    Pending,
    /// It has voted.
    Voted(Ballot),
    /// It answered an error, or nothing in time.
    Failed {
        /// Whether it may have granted something all the same.
        may_hold: bool,
    },
}

#[derive(Debug)]
pub(super) struct Tally {
    quorum: Quorum,
    standings: [Standing; MAX_NODES as usize],
}

impl Tally {
    pub(super) fn new(quorum: Quorum, asked: NodeSet) -> Self {
        let mut standings = [Standing::Unasked; MAX_NODES as usize];
        for (at, standing) in standings.iter_mut().enumerate() {
            if asked.contains(NodeId(at as u8)) {
                *standing = Standing::Pending;
            }
        }
        Self { quorum, standings }
    }

    /// All configured nodes.
    fn nodes(&self) -> impl Iterator<Item = (NodeId, Standing)> {
        (0u8..)
            .map(NodeId)
            .zip(self.standings)
            .take(usize::from(self.quorum.nodes()))
    }

    pub(super) fn of(&self, node: NodeId) -> Standing {
        if node.0 >= self.quorum.nodes() {
            return Standing::Unasked;
        }
        self.standings
            .get(usize::from(node.0))
            .copied()
            .unwrap_or(Standing::Unasked)
    }

    pub(super) fn set(&mut self, node: NodeId, standing: Standing) {
        if let Some(at) = self.standings.get_mut(usize::from(node.0)) {
            *at = standing;
        }
    }

    fn that(&self, is: impl Fn(Standing) -> bool) -> NodeSet {
        self.nodes()
            .filter(|&(_, standing)| is(standing))
            .map(|(node, _)| node)
            .collect()
    }

    pub(super) fn pending(&self) -> NodeSet {
        self.that(|standing| standing == Standing::Pending)
    }

    pub(super) fn doubtful(&self) -> NodeSet {
        self.that(|standing| standing == Standing::Failed { may_hold: true })
    }

    pub(super) fn granted(&self, index: usize) -> NodeSet {
        self.that(|standing| standing == Standing::Voted(Ballot::Granted(index)))
    }

    /// The candidate with the most grants, and how many.
    pub(super) fn leader(&self, candidates: &Candidates) -> (usize, u8) {
        let counts = (0..candidates.slots().len()).map(|index| (index, self.granted(index).len()));
        // The first of equals.
        counts
            .rev()
            .max_by_key(|&(_, count)| count)
            .unwrap_or_default()
    }

    /// Whether so many nodes failed that the others are no quorum.
    pub(super) fn is_down(&self) -> bool {
        self.lacking() > self.quorum.spare()
    }

    fn lacking(&self) -> u8 {
        self.that(|standing| matches!(standing, Standing::Unasked | Standing::Failed { .. }))
            .len()
    }

    fn refusals(&self) -> impl Iterator<Item = Refusal> {
        self.nodes().filter_map(|(_, standing)| match standing {
            Standing::Voted(Ballot::Refused(refusal)) => Some(refusal),
            _ => None,
        })
    }

    /// How long until enough nodes are out of quarantine, if it is for quarantine
    /// that there is no quorum.
    pub(super) fn quarantine(&self) -> Option<u64> {
        let confined = self
            .refusals()
            .filter(|refusal| refusal.cause == Cause::Quarantine);
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

    /// When the first lease ends that stood in the way.
    pub(super) fn first_end(&self) -> Option<u64> {
        self.refusals().filter_map(|refusal| refusal.wait_ms).min()
    }

    /// The candidates that a quorum may still grant at the next attempt.
    pub(super) fn open(&self, candidates: &Candidates) -> SlotSet {
        let free_at = |standing, index| match standing {
            Standing::Pending => true,
            // It passed over those before the one that it granted.
            Standing::Voted(Ballot::Granted(granted)) => index >= granted,
            Standing::Voted(Ballot::Refused(refusal)) => refusal.free.contains(index),
            Standing::Unasked | Standing::Failed { .. } => false,
        };
        let votes = |index: &usize| self.that(|standing| free_at(standing, *index)).len();
        (0..candidates.slots().len())
            .filter(|index| votes(index) >= self.quorum.needed())
            .collect()
    }
}
