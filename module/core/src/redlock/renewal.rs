//! Renewal of locks: one batch, one script call per node.

use super::command::{Command, RenewCommand};
use super::lease::SlotLock;
use super::node::{NodeId, NodeSet, Quorum};
use super::reply::Renewed;
use super::timing::Timing;

/// An event of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalEvent<'a> {
    /// A node voted on each lock that was sent, in order.
    Voted(NodeId, &'a [Renewed]),
    /// A node answered with an error, or not in time.
    Failed(NodeId),
}

/// What the caller must do. Locks are identified by their index in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewalAction {
    /// Send a command to these nodes.
    Send {
        /// The nodes.
        to: NodeSet,
        /// The command.
        command: Command,
    },
    /// A quorum extended the lock: call [`SlotLock::extend`].
    Extended {
        /// Index of the lock.
        lease: usize,
        /// The new deadline.
        deadline_ms: u64,
    },
    /// Fewer nodes than a quorum extended the lock. It keeps its deadline: try again until then,
    /// and release nothing.
    Kept {
        /// Index of the lock.
        lease: usize,
    },
    /// The lock is lost, unless its deadline is later than the given one, because a renewal that
    /// knew more has moved it: stop the work done under it.
    Lost {
        /// Index of the lock.
        lease: usize,
        /// The deadline that has passed; or, if a quorum has denied the lock, the one that this
        /// renewal would have set: only a renewal that began later can move it further.
        deadline_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemState {
    Open,
    Kept,
    Final,
}

#[derive(Debug)]
struct Item {
    /// Index in the caller's batch.
    place: usize,
    deadline_ms: u64,
    prolonged: u8,
    /// Number of nodes on which another client holds the slot.
    denied: u8,
    state: ItemState,
}

/// The renewal of a batch of locks of one pool.
#[derive(Debug)]
pub struct Renewal {
    quorum: Quorum,
    timing: Timing,
    start: u64,
    items: Vec<Item>,
    /// Nodes that were asked and have not voted.
    unheard: NodeSet,
    /// Nodes of `unheard` that have not failed.
    pending: NodeSet,
}

impl Renewal {
    /// Starts a renewal. Locks past their deadline are lost at once and are not sent.
    #[must_use]
    pub fn new(
        quorum: Quorum,
        timing: Timing,
        ask: NodeSet,
        batch: &[SlotLock],
        now: u64,
    ) -> (Self, Vec<RenewalAction>) {
        let (mut items, mut leases, mut actions) = (Vec::new(), Vec::new(), Vec::new());
        for (place, lease) in batch.iter().enumerate() {
            if !lease.is_valid(now) {
                let deadline_ms = lease.deadline_ms;
                actions.push(RenewalAction::Lost {
                    lease: place,
                    deadline_ms,
                });
                continue;
            }
            leases.push(lease.clone());
            items.push(Item {
                place,
                deadline_ms: lease.deadline_ms,
                prolonged: 0,
                denied: 0,
                state: ItemState::Open,
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

    /// Processes an event.
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

    /// The nodes that have neither answered nor failed.
    #[must_use]
    pub fn pending(&self) -> NodeSet {
        self.pending
    }

    fn decide(&mut self, now: u64, actions: &mut Vec<RenewalAction>) {
        let needed = self.quorum.needed();
        let deadline_ms = self.timing.deadline(self.start);
        for item in &mut self.items {
            let lease = item.place;
            if item.state == ItemState::Final {
                continue;
            }
            // Checked first: after its deadline the holder has stopped using the lock, even if a
            // quorum has extended it.
            if now >= item.deadline_ms {
                item.state = ItemState::Final;
                let deadline_ms = item.deadline_ms;
                actions.push(RenewalAction::Lost { lease, deadline_ms });
            } else if item.denied >= needed {
                item.state = ItemState::Final;
                let deadline_ms = deadline_ms.max(item.deadline_ms);
                actions.push(RenewalAction::Lost { lease, deadline_ms });
            } else if item.prolonged >= needed {
                item.state = ItemState::Final;
                actions.push(RenewalAction::Extended { lease, deadline_ms });
            } else if item.state == ItemState::Open
                && item.prolonged + self.pending.len() < needed
                && item.denied + self.pending.len() < needed
            {
                item.state = ItemState::Kept;
                actions.push(RenewalAction::Kept { lease });
            }
        }
    }
}
