//! Prolonging leases: one batch, one script call a node.

use super::command::{Command, RenewCommand};
use super::lease::Lease;
use super::node::{NodeId, NodeSet, Quorum};
use super::reply::Renewed;
use super::timing::Timing;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalEvent<'a> {
    /// A node voted on each lease that it was sent, in order.
    Voted(NodeId, &'a [Renewed]),
    /// A node answered an error, or nothing in time.
    Failed(NodeId),
}

/// What the caller must do. Leases are named by their place in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewalAction {
    /// Ask these nodes.
    Send {
        /// The nodes.
        to: NodeSet,
        /// What to ask.
        command: Command,
    },
    /// [`Lease::extend`] the lease.
    Extended {
        /// Which.
        lease: usize,
        /// Its new deadline.
        deadline_ms: u64,
    },
    /// Fewer than a quorum prolonged it: it keeps its deadline. Try again until
    /// that passes, and release nothing.
    Kept {
        /// Which.
        lease: usize,
    },
    /// It is lost: stop what was done under it.
    Lost {
        /// Which.
        lease: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    Kept,
    Final,
}

#[derive(Debug)]
struct Item {
    /// Its place in the caller's batch.
    place: usize,
    deadline_ms: u64,
    prolonged: u8,
    /// Nodes that say that it is another's.
    denied: u8,
    verdict: Verdict,
}

/// The renewal of a batch of leases of one pool.
#[derive(Debug)]
pub struct Renewal {
    quorum: Quorum,
    timing: Timing,
    start: u64,
    items: Vec<Item>,
    /// Nodes that were asked and have not voted.
    unheard: NodeSet,
    /// Those of them that have not failed.
    pending: NodeSet,
}

impl Renewal {
    /// Starts a renewal. Leases that are past their deadline are lost at once: they
    /// are not asked for.
    #[must_use]
    pub fn new(
        quorum: Quorum,
        timing: Timing,
        ask: NodeSet,
        batch: &[Lease],
        now: u64,
    ) -> (Self, Vec<RenewalAction>) {
        let (mut items, mut leases, mut actions) = (Vec::new(), Vec::new(), Vec::new());
        for (place, lease) in batch.iter().enumerate() {
            if !lease.is_valid(now) {
                actions.push(RenewalAction::Lost { lease: place });
                continue;
            }
            leases.push(lease.clone());
            items.push(Item {
                place,
                deadline_ms: lease.deadline_ms,
                prolonged: 0,
                denied: 0,
                verdict: Verdict::Open,
            });
        }
        let configured = quorum.all();
        let ask: NodeSet = ask
            .iter()
            .filter(|&node| configured.contains(node))
            .collect();
        let mut renewal = Self {
            quorum,
            timing,
            start: now,
            items,
            unheard: ask,
            pending: ask,
        };
        if !leases.is_empty() && !ask.is_empty() {
            let command = Command::Renew(RenewCommand {
                leases: leases.into(),
                ttl_ms: timing.ttl_ms,
            });
            actions.push(RenewalAction::Send { to: ask, command });
        }
        renewal.decide(now, &mut actions);
        (renewal, actions)
    }

    /// Takes note of an event.
    #[must_use]
    pub fn step(&mut self, now: u64, event: RenewalEvent<'_>) -> Vec<RenewalAction> {
        let mut actions = Vec::new();
        match event {
            RenewalEvent::Voted(node, votes) if votes.len() == self.items.len() => {
                if !self.unheard.remove(node) {
                    return actions;
                }
                self.pending.remove(node);
                for (item, vote) in self.items.iter_mut().zip(votes) {
                    match vote {
                        Renewed::Prolonged | Renewed::Restored => item.prolonged += 1,
                        Renewed::Taken => item.denied += 1,
                        Renewed::Superseded | Renewed::Ended | Renewed::Failed => {}
                    }
                }
            }
            RenewalEvent::Voted(node, _) | RenewalEvent::Failed(node) => {
                self.pending.remove(node);
            }
        }
        self.decide(now, &mut actions);
        actions
    }

    /// The nodes that have not answered.
    #[must_use]
    pub fn pending(&self) -> NodeSet {
        self.pending
    }

    fn decide(&mut self, now: u64, actions: &mut Vec<RenewalAction>) {
        let needed = self.quorum.needed();
        let deadline_ms = self.timing.deadline(self.start);
        for item in &mut self.items {
            let lease = item.place;
            if item.verdict == Verdict::Final {
                continue;
            }
            // First of all: a quorum that is heard of too late has prolonged what
            // the holder has had to give up.
            if now >= item.deadline_ms || item.denied >= needed {
                item.verdict = Verdict::Final;
                actions.push(RenewalAction::Lost { lease });
            } else if item.prolonged >= needed {
                item.verdict = Verdict::Final;
                actions.push(RenewalAction::Extended { lease, deadline_ms });
            } else if item.verdict == Verdict::Open
                && item.prolonged + self.pending.len() < needed
                && item.denied + self.pending.len() < needed
            {
                item.verdict = Verdict::Kept;
                actions.push(RenewalAction::Kept { lease });
            }
        }
    }
}
