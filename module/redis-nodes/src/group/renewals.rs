//! Renewal of locks.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    Command, Fence, NodeSet, Nonce, PoolNames, Renewal, RenewalAction, RenewalEvent, ScriptCall,
    Slot, SlotLock, Timing,
};

use super::{Group, GroupEvent, Kept, Operation, Order, Purpose, RenewalKey, Renewing};
use crate::call::by_digest;
use crate::node::Node;
use crate::transport::Transport;

/// Maximum number of locks in one command.
const MOST: usize = 256;

impl<T: Transport> Group<T> {
    /// Renews the locks of leases. `ttl_ms` is their new time to live in milliseconds.
    pub fn prolong(
        &mut self,
        names: &PoolNames,
        ttl_ms: u64,
        locks: &[(LeaseHandle, Slot, Lock)],
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        for batch in locks.chunks(MOST) {
            let lease = |(_, slot, lock): &(_, Slot, Lock)| lease_of(slot, lock, lock.deadline_ms);
            let leases: Vec<_> = batch.iter().map(lease).collect();
            let handles = batch.iter().map(|&(handle, ..)| handle).collect();
            self.ask_to_keep(names, ttl_ms, &leases, Purpose::Leases(handles), now, done);
        }
        self.arm();
    }

    /// Renews one lock so that it is valid for at least `valid_ms` from now. The result is reported
    /// as [`GroupEvent::Concluded`]: when nodes have replied, after the node timeout, or at once if
    /// no node is connected.
    pub fn keep_for(
        &mut self,
        names: &PoolNames,
        valid_ms: u64,
        (slot, lock): (&Slot, &Lock),
        operation: Operation,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        // The caller knows whether the lock has expired in the meantime.
        let lease = lease_of(slot, lock, u64::MAX);
        let of = Purpose::Operation(operation);
        self.ask_to_keep(names, self.ttl_for(valid_ms), &[lease], of, now, done);
        self.arm();
    }

    /// The time to live to request for a lock that must be valid for `valid_ms`.
    pub fn ttl_for(&self, valid_ms: u64) -> u64 {
        self.setup.drift.ttl_for(valid_ms)
    }

    /// The time by which an operation that starts now is concluded.
    pub fn concluded_by(&self, now: u64) -> u64 {
        // Timeouts are checked once per half a timeout.
        now + 2 * self.setup.timeout_ms
    }

    fn ask_to_keep(
        &mut self,
        names: &PoolNames,
        ttl_ms: u64,
        leases: &[SlotLock],
        of: Purpose,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let drift = self.setup.drift;
        let timing = Timing { ttl_ms, drift };
        // Nodes in quarantine renew as well.
        let keepers = self.those(Node::is_open);
        let (renewal, actions) = Renewal::new(self.quorum, timing, keepers, leases, now);
        let call = actions.iter().find_map(|action| match action {
            RenewalAction::Send {
                command: command @ Command::Renew(renew),
                ..
            } => Some((renew.leases.len(), ScriptCall::new(command, names))),
            _ => None,
        });
        let Some((asked, call)) = call else {
            note_renewals(&of, &actions, done);
            return;
        };
        let packed = by_digest(&call);
        let key = self.renewals.insert(Renewing {
            renewal,
            of,
            asked,
            call: Rc::new(call),
            due: now + self.setup.timeout_ms,
        });
        self.renewed(key, actions, done);
        let to = self
            .renewals
            .get(key)
            .map_or(NodeSet::default(), |r| r.renewal.pending());
        for node in to.iter() {
            if self.send(node, &packed, 1, Order::Renew(key)).is_err() {
                self.renewal_step(key, RenewalEvent::Failed(node), now, done);
            }
        }
    }

    pub(super) fn renewal_step(
        &mut self,
        key: RenewalKey,
        event: RenewalEvent<'_>,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let Some(renewing) = self.renewals.get_mut(key) else {
            return;
        };
        let actions = renewing.renewal.step(now, event);
        self.renewed(key, actions, done);
    }

    pub(super) fn renewed(
        &mut self,
        key: RenewalKey,
        actions: Vec<RenewalAction>,
        done: &mut Vec<GroupEvent>,
    ) {
        let Some(renewing) = self.renewals.get(key) else {
            return;
        };
        note_renewals(&renewing.of, &actions, done);
        if renewing.renewal.pending().is_empty() {
            self.renewals.remove(key);
        }
    }
}

fn lease_of(slot: &Slot, lock: &Lock, deadline_ms: u64) -> SlotLock {
    SlotLock {
        slot: slot.clone(),
        nonce: Nonce(lock.nonce()),
        fence: Fence::new(lock.fence).unwrap_or_default(),
        deadline_ms,
    }
}

fn note_renewals(of: &Purpose, actions: &[RenewalAction], done: &mut Vec<GroupEvent>) {
    let events = actions.iter().filter_map(|action| match of {
        Purpose::Operation(operation) => {
            let operation = *operation;
            let kept = match *action {
                RenewalAction::Extended { deadline_ms, .. } => Kept::Until(deadline_ms),
                RenewalAction::Kept { .. } => Kept::Refused,
                RenewalAction::Lost { .. } => Kept::Lost,
                RenewalAction::Send { .. } => return None,
            };
            Some(GroupEvent::Concluded { operation, kept })
        }
        Purpose::Leases(handles) => match *action {
            RenewalAction::Extended { lease, deadline_ms } => Some(GroupEvent::Prolonged {
                handle: *handles.get(lease)?,
                deadline_ms,
            }),
            RenewalAction::Lost { lease, deadline_ms } => Some(GroupEvent::Lost {
                handle: *handles.get(lease)?,
                deadline_ms,
            }),
            // The lock keeps its deadline.
            RenewalAction::Kept { .. } | RenewalAction::Send { .. } => None,
        },
    });
    done.extend(events);
}
