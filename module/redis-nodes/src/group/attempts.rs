//! Taking locks.

use std::rc::Rc;

use openai_core::lease::Lock;
use openai_core::redlock::{
    Acquire, AcquireAction, AcquireEvent, AcquireFailure, Candidates, Command, ErrorKind, Holder,
    MAX_CANDIDATES, NodeId, NodeSet, Nonce, PoolNames, Proposal, ReleaseCommand, ScriptCall, Slot,
    reply::Ballot,
};
use rand::RngCore;

use super::guards::Sight;
use super::{AttemptKey, Attempting, GiveBack, Group, GroupEvent, LockRequest, Order};
use crate::call::by_digest;
use crate::transport::Transport;

/// How soon to look again whether enough nodes are connected.
const OPENING_MS: u64 = 5;

/// How many slots an attempt asks for: one while the first is always free, as on a
/// machine that has the nodes to itself; many while others hold slots.
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

impl<T: Transport> Group<T> {
    /// Tries to lock a slot.
    pub fn attempt(
        &mut self,
        attempt: LockRequest,
        now: u64,
        wall_us: u64,
        done: &mut Vec<GroupEvent>,
    ) -> Option<AttemptKey> {
        let nonce = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let mut slots = vec![attempt.first.slot.clone()];
        slots.extend_from_slice(&attempt.others);
        let Ok(candidates) = Candidates::in_order(slots) else {
            done.push(GroupEvent::Unavailable {
                tag: attempt.tag,
                handle: attempt.handle,
            });
            return None;
        };
        let known = attempt.first.known_fence(attempt.last_fence);
        let (fence, start_ms) = (self.fence.propose(wall_us, known), wall_us / 1_000);
        attempt.first.propose(fence);
        let proposal = Proposal {
            candidates: candidates.clone(),
            nonce: Nonce(nonce),
            ttl_ms: attempt.ttl_ms,
            fence,
            holder: Holder::new(&self.setup.owner, "", start_ms),
            quarantine_ms: self.setup.quarantine_ms,
            bootstrap: false,
        };
        let voters = self.voters(attempt.names.base(), now);
        if voters.len() < self.quorum.needed() && self.may_soon_vote(now) {
            let (tag, handle) = (attempt.tag, attempt.handle);
            done.push(GroupEvent::Busy {
                tag,
                handle,
                wait_ms: OPENING_MS,
            });
            return None;
        }
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
        let (acquire, actions) = Acquire::new(ask, now);
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
        self.forget_drained(key).then_some(key)
    }

    /// Whether a quorum may be there in a moment: connections are being made.
    fn may_soon_vote(&self, now: u64) -> bool {
        let settling = self.nodes.iter().filter(|node| node.is_settling(now));
        settling.count() >= usize::from(self.quorum.needed())
    }

    /// Nobody wants the lock any more. What has been granted is given back.
    pub fn abandon(&mut self, key: AttemptKey, now: u64, done: &mut Vec<GroupEvent>) {
        self.step(key, AcquireEvent::Abandoned, now, done);
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

    /// Drops an attempt that nothing more can come of; whether it goes on.
    fn forget_drained(&mut self, key: AttemptKey) -> bool {
        let Some(attempting) = self.attempts.get(key) else {
            return false;
        };
        let drained = attempting.acquire.is_drained();
        // Of one that was won, late votes still tell something.
        if drained && (!attempting.won || attempting.acquire.is_heard()) {
            self.unheard.remove(&attempting.nonce.0);
            self.attempts.remove(key);
        }
        !drained
    }

    /// Whether no node can take a lock up any more.
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

    /// Sends a proposal: the plain commands that have been packed, or its script.
    fn propose(&mut self, key: AttemptKey, to: NodeSet, now: u64, done: &mut Vec<GroupEvent>) {
        let call = self.attempts.get(key).and_then(|a| a.call.clone());
        let mut packed = std::mem::take(&mut self.packed);
        let commands = if let Some(call) = call {
            packed = by_digest(&call);
            1
        } else {
            3
        };
        for node in to.iter() {
            let order = Order::Acquire(key);
            let sent = match commands {
                1 => self.send(node, &packed, order),
                several => self.send_several(node, &packed, several, order),
            };
            if sent.is_err() {
                let event = AcquireEvent::Erred(node, ErrorKind::Disconnected);
                self.step(key, event, now, done);
            }
        }
        packed.clear();
        self.packed = packed;
        self.arm();
    }

    /// A node took a lock that must not count; a script will tell why.
    pub(super) fn unsure(&mut self, node: NodeId, key: AttemptKey, names: &Rc<PoolNames>) {
        self.careful = true;
        if let Some(attempting) = self.attempts.get_mut(key) {
            attempting.unsure = true;
        }
        self.see_guard(node, names, false);
    }

    /// How many slots to ask for besides the one that is leased.
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

    /// How long to leave alone a slot that is held elsewhere: until its lease
    /// ends, if that is soon; it may be given up before, without word of it.
    fn patience(&mut self, wait_ms: Option<u64>) -> u64 {
        let most = 100 + self.random.next_u64() % 100;
        wait_ms.unwrap_or(most).clamp(1, most)
    }

    /// Gives back a lock that no lease has.
    pub fn give_back_lock(&mut self, names: &PoolNames, slot: Slot, lock: GiveBack) {
        let command = ReleaseCommand {
            slots: [slot].into(),
            nonce: Nonce(lock.lock.nonce()),
            ends: lock.ends(),
        };
        self.give_back(self.quorum.all(), command, names);
    }

    pub(super) fn give_back(&mut self, to: NodeSet, command: ReleaseCommand, names: &PoolNames) {
        let call = Rc::new(ScriptCall::new(&Command::Release(command), names));
        let packed = by_digest(&call);
        for node in to.iter() {
            // Where there is no connection, the grant ends by itself.
            let _ = self.send(node, &packed, Order::Stray(Rc::clone(&call)));
        }
    }
}
