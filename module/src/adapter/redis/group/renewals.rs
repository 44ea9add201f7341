//! Prolonging locks.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    Command, Lease, NodeSet, Nonce, PoolNames, RenewCommand, Renewal, RenewalAction, RenewalEvent,
    ScriptCall, Slot, Timing,
};

use super::super::call::by_digest;
use super::{Counts, Group, Order, Outcome, RenewalKey, Renewing};

impl Group {
    /// Prolongs locks.
    pub fn prolong(
        &mut self,
        names: &PoolNames,
        ttl_ms: u64,
        locks: &[(LeaseHandle, Slot, Lock)],
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        self.ask_to_keep(names, (ttl_ms, false), locks, now, done);
    }

    fn ask_to_keep(
        &mut self,
        names: &PoolNames,
        (ttl_ms, at_least): (u64, bool),
        locks: &[(LeaseHandle, Slot, Lock)],
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        for batch in locks.chunks(256) {
            let leases: Vec<_> = batch
                .iter()
                .map(|(_, slot, lock)| lease_of(slot, lock))
                .collect();
            let handles: Vec<_> = batch.iter().map(|&(handle, ..)| handle).collect();
            let timing = Timing {
                ttl_ms,
                drift: self.setup.drift,
            };
            let (renewal, actions) =
                Renewal::new(self.quorum, timing, self.keepers(), &leases, now);
            let mut call = None;
            for action in &actions {
                if let RenewalAction::Send { command, .. } = action
                    && let Command::Renew(renew) = command
                {
                    let asked = renew.leases.len();
                    let renew = RenewCommand {
                        at_least,
                        ..renew.clone()
                    };
                    let script = ScriptCall::new(&Command::Renew(renew), names);
                    call = Some((asked, Rc::new(script)));
                }
            }
            let Some((asked, call)) = call else {
                note_renewals(&handles, &actions, &mut self.counts, done);
                continue;
            };
            let due = now + self.setup.timeout_ms;
            let packed = by_digest(&call);
            let key = self.renewals.insert(Renewing {
                renewal,
                handles,
                asked,
                call,
                due,
            });
            self.renewed(key, actions, done);
            let to = self
                .renewals
                .get(key)
                .map_or(NodeSet::default(), |r| r.renewal.pending());
            for node in to.iter() {
                if self.send(node, &packed, Order::Renew(key)).is_err() {
                    self.renewal_step(key, RenewalEvent::Failed(node), now, done);
                }
            }
        }
        self.arm();
    }

    /// Has the nodes keep a lock so that it is valid for that long from now; `at_least`
    /// if it may be for longer.
    pub fn keep_for(
        &mut self,
        names: &PoolNames,
        (valid_ms, at_least): (u64, bool),
        lock: (LeaseHandle, Slot, Lock),
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        let ttl_ms = self.setup.drift.ttl_for(valid_ms);
        self.ask_to_keep(names, (ttl_ms, at_least), &[lock], now, done);
    }

    pub(super) fn renewal_step(
        &mut self,
        key: RenewalKey,
        event: RenewalEvent<'_>,
        now: u64,
        done: &mut Vec<Outcome>,
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
        done: &mut Vec<Outcome>,
    ) {
        let Some(renewing) = self.renewals.get(key) else {
            return;
        };
        note_renewals(&renewing.handles, &actions, &mut self.counts, done);
        if renewing.renewal.pending().is_empty() {
            self.renewals.remove(key);
        }
    }
}

fn lease_of(slot: &Slot, lock: &Lock) -> Lease {
    Lease {
        slot: slot.clone(),
        nonce: Nonce(lock.nonce()),
        fence: openai_core::redlock::Fence::new(lock.fence).unwrap_or_default(),
        deadline_ms: lock.deadline_ms,
    }
}

fn note_renewals(
    handles: &[LeaseHandle],
    actions: &[RenewalAction],
    counts: &mut Counts,
    done: &mut Vec<Outcome>,
) {
    for action in actions {
        match *action {
            RenewalAction::Extended { lease, deadline_ms } => {
                done.extend(handles.get(lease).map(|&handle| Outcome::Prolonged {
                    handle,
                    deadline_ms,
                }));
            }
            RenewalAction::Lost { lease } => {
                counts.lost += 1;
                done.extend(handles.get(lease).map(|&handle| Outcome::Lost { handle }));
            }
            RenewalAction::Kept { lease } => {
                done.extend(handles.get(lease).map(|&handle| Outcome::Kept { handle }));
            }
            RenewalAction::Send { .. } => {}
        }
    }
}
