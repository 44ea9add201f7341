//! Taking locks.

use std::rc::Rc;

use openai_core::lease::Lock;
use openai_core::redlock::{
    Acquire, Action, Candidates, Command, ErrorKind, Event, Failure, Holder, NodeSet, Nonce,
    PoolNames, Proposal, ReleaseCommand, ScriptCall,
};
use rand::RngCore;

use super::super::call::by_digest;
use super::{Attempt, AttemptKey, Attempting, Group, Order, Outcome};

/// How soon to look again whether enough nodes are connected.
const OPENING_MS: u64 = 5;

impl Group {
    /// Tries to lock a slot.
    pub fn attempt(
        &mut self,
        attempt: Attempt,
        now: u64,
        wall_us: u64,
        done: &mut Vec<Outcome>,
    ) -> Option<AttemptKey> {
        let nonce = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let Ok(candidates) = Candidates::in_order(vec![attempt.slot.clone()]) else {
            done.push(Outcome::Unavailable {
                tag: attempt.tag,
                handle: attempt.handle,
            });
            return None;
        };
        let proposal = Proposal {
            candidates: candidates.clone(),
            nonce: Nonce(nonce),
            ttl_ms: attempt.ttl_ms,
            fence: self.fence.propose(wall_us),
            holder: Holder::new(&self.setup.owner, "", wall_us / 1_000),
            quarantine_ms: self.setup.quarantine_ms,
            bootstrap: self.is_first(&attempt.names),
        };
        let voters = self.voters(attempt.names.base(), now);
        if voters.len() < self.quorum.needed() && now < self.started + self.setup.timeout_ms {
            // Connections are still being made.
            let (tag, handle) = (attempt.tag, attempt.handle);
            done.push(Outcome::Busy {
                tag,
                handle,
                wait_ms: OPENING_MS,
            });
            return None;
        }
        let ask = openai_core::redlock::Attempt {
            quorum: self.quorum,
            ask: voters,
            proposal,
            drift: self.setup.drift,
            retry: self.setup.retry,
            random: self.random.next_u64(),
        };
        let command = Command::Acquire(ask.proposal.clone().into());
        let call = Rc::new(ScriptCall::new(&command, &attempt.names));
        let (acquire, actions) = Acquire::new(ask, now);
        let due = now + self.setup.timeout_ms;
        let key = self.attempts.insert(Attempting {
            acquire,
            attempt,
            candidates,
            call,
            nonce: Nonce(nonce),
            won: false,
            due,
        });
        self.act(key, actions, now, done);
        self.attempts.contains_key(key).then_some(key)
    }

    /// Whether the nodes may never have heard of the pool, and need not wait to see
    /// whether they have forgotten it. A guard that is set once tells the rest.
    pub(super) fn is_first(&self, names: &PoolNames) -> bool {
        self.setup.bootstrap && !self.known.contains(names.base())
    }

    /// Nobody wants the lock any more. What has been granted is given back.
    pub fn abandon(&mut self, key: AttemptKey, now: u64, done: &mut Vec<Outcome>) {
        self.step(key, Event::Abandoned, now, done);
    }

    pub(super) fn step(
        &mut self,
        key: AttemptKey,
        event: Event,
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        let Some(attempting) = self.attempts.get_mut(key) else {
            return;
        };
        let actions = attempting.acquire.step(now, event);
        self.fence.saw(attempting.acquire.highest_fence());
        self.act(key, actions, now, done);
        if self
            .attempts
            .get(key)
            .is_some_and(|a| a.acquire.is_drained())
        {
            self.attempts.remove(key);
        }
    }

    pub(super) fn act(
        &mut self,
        key: AttemptKey,
        actions: Vec<Action>,
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        for action in actions {
            let Some(attempting) = self.attempts.get_mut(key) else {
                return;
            };
            let (tag, handle) = (attempting.attempt.tag, attempting.attempt.handle);
            match action {
                Action::Send { to, .. } => {
                    let packed = by_digest(&attempting.call);
                    for node in to.iter() {
                        if self.send(node, &packed, Order::Acquire(key), now).is_err() {
                            let event = Event::Erred(node, ErrorKind::Disconnected);
                            self.step(key, event, now, done);
                        }
                    }
                    self.arm();
                }
                Action::Release { to, command } => {
                    let names = Rc::clone(&attempting.attempt.names);
                    self.give_back(to, command, &names, now);
                }
                Action::Won { lease, .. } => {
                    attempting.won = true;
                    let base = attempting.attempt.names.base();
                    if !self.known.contains(base) {
                        self.known.insert(base.to_owned());
                    }
                    let lock = Lock::new(lease.nonce.0, lease.fence.get(), lease.deadline_ms);
                    done.push(Outcome::Locked { tag, handle, lock });
                }
                Action::Retry { after_ms, .. } => {
                    done.push(Outcome::Busy {
                        tag,
                        handle,
                        wait_ms: after_ms,
                    });
                }
                Action::Failed(Failure::Busy { wait_ms }) => {
                    let wait_ms = self.patience(wait_ms);
                    done.push(Outcome::Busy {
                        tag,
                        handle,
                        wait_ms,
                    });
                }
                Action::Failed(Failure::Abandoned) => done.push(Outcome::Abandoned { handle }),
                Action::Failed(_) => done.push(Outcome::Unavailable { tag, handle }),
            }
        }
    }

    /// How long to leave alone a slot that is held elsewhere: until its lease
    /// ends, if that is soon; it may be given up before, without word of it.
    fn patience(&mut self, wait_ms: Option<u64>) -> u64 {
        let most = 100 + self.random.next_u64() % 100;
        wait_ms.unwrap_or(most).clamp(1, most)
    }

    pub(super) fn give_back(
        &mut self,
        to: NodeSet,
        command: ReleaseCommand,
        names: &PoolNames,
        now: u64,
    ) {
        let call = Rc::new(ScriptCall::new(&Command::Release(command), names));
        let packed = by_digest(&call);
        for node in to.iter() {
            // Where there is no connection, the grant ends by itself.
            let _ = self.send(node, &packed, Order::Stray(Rc::clone(&call)), now);
        }
    }
}
