//! Attempts to lock a slot.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    AcquireAction, AcquireEvent, AcquireFailure, Acquisition, Candidates, Command, ErrorKind,
    MAX_CANDIDATES, NodeId, NodeSet, Nonce, PoolNames, Proposal, ReleaseCommand, ScriptCall, Slot,
    reply::Ballot,
};
use rand::RngCore;

use super::guards::Sight;
use super::{AttemptKey, Attempting, GiveBack, Group, GroupEvent, LockRequest, Order};
use crate::call::by_digest;
use crate::transport::Transport;

/// How many slots an attempt proposes. One as long as the first is always free, as on a machine
/// that uses the nodes alone; more while others hold slots. The second field counts the attempts
/// since the last change; their first slot was free.
pub(super) struct Width(usize, u32);

impl Default for Width {
    fn default() -> Self {
        Self(1, 0)
    }
}

impl Width {
    const CALM: u32 = 64;

    fn note(&mut self, first_was_free: bool) {
        if !first_was_free {
            *self = Self((self.0 * 2).min(MAX_CANDIDATES), 0);
        } else if self.1 < Self::CALM {
            self.1 += 1;
        } else {
            *self = Self((self.0 - 1).max(1), 0);
        }
    }
}

/// An attempt that has been postponed until enough nodes can vote.
pub(super) struct Deferred {
    attempt: LockRequest,
    /// When it was requested, by the monotonic clock in milliseconds; `wall_us` is the same by the
    /// wall clock.
    now: u64,
    wall_us: u64,
}

impl<T: Transport> Group<T> {
    /// Tries to lock a slot. If too few nodes can vote, but enough connections are being
    /// established, the attempt is postponed until [`Group::flush`].
    pub fn attempt(
        &mut self,
        attempt: LockRequest,
        now: u64,
        wall_us: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let voters = self.voters(attempt.names.base(), now);
        if voters.len() < self.quorum.needed() && self.may_soon_vote(now) {
            self.deferred.push(Deferred {
                attempt,
                now,
                wall_us,
            });
            return;
        }
        let nonce = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let mut slots = vec![attempt.first.slot.clone()];
        slots.extend_from_slice(&attempt.others);
        let Some(candidates) = Candidates::in_order(slots) else {
            done.push(GroupEvent::Unavailable {
                tag: attempt.tag,
                handle: attempt.handle,
            });
            return;
        };
        let known = attempt.first.known_fence(attempt.last_fence);
        let (fence, start_ms) = (self.fence.propose(wall_us, known), wall_us / 1_000);
        attempt.first.propose(fence);
        let proposal = Proposal {
            candidates: candidates.clone(),
            nonce: Nonce(nonce),
            ttl_ms: attempt.ttl_ms,
            fence,
            holder: self.holder.starting(start_ms),
            quarantine_ms: self.setup.quarantine_ms,
            bootstrap: false,
        };
        let ask = openai_core::redlock::AcquireOptions {
            quorum: self.quorum,
            ask: voters,
            proposal,
            drift: self.setup.drift,
            retry: self.setup.retry,
            random: self.random.next_u64(),
        };
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let blanks = (Nonce(nonce), fence, start_ms);
        let plain = !self.careful
            && !attempt.by_script
            && !self.scripts_only
            && attempt.others.is_empty()
            && attempt.first.take(&self.setup.owner, blanks, &mut packed);
        self.packed = packed;
        let call = (!plain).then(|| {
            let command = Command::Acquire(ask.proposal.clone().into());
            Rc::new(ScriptCall::new(&command, &attempt.names))
        });
        let (acquire, actions) = Acquisition::new(ask, now);
        let due = now + self.setup.timeout_ms;
        let key = self.attempts.insert(Attempting {
            acquire,
            attempt,
            candidates,
            call,
            nonce: Nonce(nonce),
            unsure: false,
            won: false,
            due,
        });
        self.act(key, actions, now, done);
        self.forget_drained(key);
    }

    /// Starts postponed attempts, unless they have to wait longer.
    pub(super) fn make_deferred(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        for deferred in std::mem::take(&mut self.deferred) {
            let waited_us = now.saturating_sub(deferred.now) * 1_000;
            self.attempt(deferred.attempt, now, deferred.wall_us + waited_us, done);
        }
    }

    /// Whether enough nodes for a quorum are being connected, or have just been connected.
    fn may_soon_vote(&self, now: u64) -> bool {
        let settling = self.those(|node| node.is_settling(now));
        settling.len() >= self.quorum.needed()
    }

    /// Gives up the attempts for a lease. Locks that have been granted are released.
    pub fn abandon(&mut self, handle: LeaseHandle, now: u64, done: &mut Vec<GroupEvent>) {
        let mut deferred = self.deferred.iter();
        if let Some(at) = deferred.position(|deferred| deferred.attempt.handle == handle) {
            self.deferred.swap_remove(at);
            self.counts.abandoned += 1;
            done.push(GroupEvent::Abandoned { handle });
            return;
        }
        // An earlier attempt for the lease may still receive votes.
        let keys = self.attempts.iter();
        let keys = keys.filter(|(_, attempting)| attempting.attempt.handle == handle);
        for key in keys.map(|(key, _)| key).collect::<Vec<_>>() {
            self.step(key, AcquireEvent::Abandoned, now, done);
        }
    }

    pub(super) fn step(
        &mut self,
        key: AttemptKey,
        event: AcquireEvent,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let Some(attempting) = self.attempts.get_mut(key) else {
            return;
        };
        let actions = attempting.acquire.step(now, event);
        self.fence.saw(attempting.acquire.highest_fence());
        self.act(key, actions, now, done);
        self.forget_drained(key);
    }

    /// Drops an attempt if its votes no longer matter.
    fn forget_drained(&mut self, key: AttemptKey) {
        let Some(attempting) = self.attempts.get(key) else {
            return;
        };
        let drained = attempting.acquire.is_drained();
        // Late votes of a successful attempt matter: see `is_heard`.
        if drained && (!attempting.won || attempting.acquire.is_heard()) {
            self.unheard.remove(&attempting.nonce.0);
            self.attempts.remove(key);
        }
    }

    /// Whether no node can still process the proposal of this lock. Until then, it must be released
    /// on the same connections.
    pub fn is_heard(&self, lock: &Lock) -> bool {
        !self.unheard.contains(&lock.nonce())
    }

    pub(super) fn act(
        &mut self,
        key: AttemptKey,
        actions: Vec<AcquireAction>,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        for action in actions {
            let Some(attempting) = self.attempts.get_mut(key) else {
                return;
            };
            let (tag, handle) = (attempting.attempt.tag, attempting.attempt.handle);
            match action {
                AcquireAction::Send { to, .. } => self.propose(key, to, now, done),
                AcquireAction::Release { to, command } => {
                    let names = Rc::clone(&attempting.attempt.names);
                    self.give_back(to, command, &names);
                }
                AcquireAction::Won { index, lease } => {
                    attempting.won = true;
                    let votes = attempting.acquire.grants(index);
                    self.width.note(index == 0);
                    self.careful = false;
                    self.counts.locked += 1;
                    let base = attempting.attempt.names.base();
                    if let Some(sight) = self.sights.get_mut(base) {
                        *sight = Sight::Known;
                    }
                    if !attempting.acquire.is_heard() {
                        self.unheard.insert(lease.nonce.0);
                    }
                    let lock = Lock::new(lease.nonce.0, lease.fence.get(), lease.deadline_ms);
                    done.push(GroupEvent::Locked {
                        tag,
                        handle,
                        lock,
                        choice: index,
                        votes,
                    });
                }
                AcquireAction::Retry { after_ms, .. } => {
                    self.counts.busy += 1;
                    done.push(GroupEvent::Busy {
                        tag,
                        handle,
                        wait_ms: after_ms,
                    });
                }
                AcquireAction::Failed(AcquireFailure::Busy { wait_ms }) => {
                    self.width.note(false);
                    self.counts.busy += 1;
                    let wait_ms = self.patience(wait_ms);
                    done.push(GroupEvent::Busy {
                        tag,
                        handle,
                        wait_ms,
                    });
                }
                AcquireAction::Failed(AcquireFailure::Abandoned) => {
                    self.counts.abandoned += 1;
                    done.push(GroupEvent::Abandoned { handle });
                }
                AcquireAction::Failed(_) if attempting.unsure => {
                    done.push(GroupEvent::Unsure { tag, handle });
                }
                AcquireAction::Failed(failure) => {
                    *match failure {
                        AcquireFailure::Quarantine { .. } => &mut self.counts.quarantine,
                        AcquireFailure::TooLate => &mut self.counts.too_late,
                        _ => &mut self.counts.no_quorum,
                    } += 1;
                    done.push(GroupEvent::Unavailable { tag, handle });
                }
            }
        }
    }

    /// Sends a proposal to nodes: the packed plain commands, or the script call.
    fn propose(&mut self, key: AttemptKey, to: NodeSet, now: u64, done: &mut Vec<GroupEvent>) {
        let call = self.attempts.get(key).and_then(|a| a.call.clone());
        let mut packed = std::mem::take(&mut self.packed);
        let commands = match call {
            Some(call) => {
                packed = by_digest(&call);
                1
            }
            None => 3,
        };
        for node in to.iter() {
            let sent = self.send(node, &packed, commands, Order::Acquire(key));
            if sent.is_err() {
                let event = AcquireEvent::Erred(node, ErrorKind::Disconnected);
                self.step(key, event, now, done);
            }
        }
        packed.clear();
        self.packed = packed;
        self.arm();
    }

    /// Handles a reply that leaves open why a node did not grant the lock. The next attempts use
    /// scripts, whose replies say why.
    pub(super) fn unsure(&mut self, node: NodeId, key: AttemptKey, names: &Rc<PoolNames>) {
        self.careful = true;
        if let Some(attempting) = self.attempts.get_mut(key) {
            attempting.unsure = true;
        }
        self.see_guard(node, names, false);
    }

    /// The number of slots to propose in addition to the slot of the lease.
    pub fn alternatives(&self) -> usize {
        self.width.0 - 1
    }

    pub(super) fn count(&mut self, event: AcquireEvent) {
        let (AcquireEvent::Voted(node, _) | AcquireEvent::Erred(node, _)) = event else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
            match event {
                AcquireEvent::Voted(_, Ballot::Granted(_)) => node.counts.granted += 1,
                AcquireEvent::Voted(_, Ballot::Refused(_)) => node.counts.refused += 1,
                _ => node.counts.failed += 1,
            }
        }
    }

    /// How long to wait before a slot that is held elsewhere is tried again, in milliseconds: until
    /// its lock expires, but at most 100 to 200, because it can be released earlier without notice.
    fn patience(&mut self, wait_ms: Option<u64>) -> u64 {
        let most = 100 + self.random.next_u64() % 100;
        wait_ms.unwrap_or(most).clamp(1, most)
    }

    /// Releases a lock that belongs to no lease.
    pub fn give_back_lock(&mut self, names: &PoolNames, slot: Slot, lock: GiveBack) {
        let command = ReleaseCommand {
            slots: [slot].into(),
            nonce: Nonce(lock.lock.nonce()),
            ends: lock.ends(),
        };
        self.give_back(self.quorum.all(), command, names);
    }

    pub(super) fn give_back(&mut self, to: NodeSet, command: ReleaseCommand, names: &PoolNames) {
        let call = ScriptCall::new(&Command::Release(command), names);
        self.send_call(to, call, Order::GiveBack);
    }
}
