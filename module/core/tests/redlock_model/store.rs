//! Model of a node: the scripts, reimplemented in Rust.

use std::collections::BTreeMap;

use openai_core::redlock::{
    Command, Enlist, GUARD_EXPIRY_MS, Proposal, ReleaseCommand, RenewCommand, Slot, Value,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub nonce: String,
    pub meta: String,
    /// The last millisecond before expiry.
    pub until: u64,
}

/// The data of a node for one pool.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub locks: BTreeMap<String, Lock>,
    pub fences: BTreeMap<String, u64>,
    /// The highest fence of a lock that must not be restored.
    pub ends: BTreeMap<String, u64>,
    pub guard: Option<u64>,
    /// Score and deadline of each waiter.
    pub queue: BTreeMap<String, (u64, u64)>,
    /// Notified waiters, with the message.
    pub woken: Vec<(String, String)>,
    /// Breaks the rule that fences increase.
    pub ignore_fences: bool,
    /// Breaks the rule that no lock is shortened.
    pub shortens: bool,
    /// By how much the clock was set forward without showing it in votes.
    pub hidden: u64,
    /// Breaks the rule that a node that has forgotten everything grants nothing for a while.
    pub unguarded: bool,
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn int(number: usize) -> Value {
    Value::Int(number as i64)
}

fn meta(proposal: &Proposal) -> String {
    proposal.holder.meta(proposal.nonce, proposal.fence)
}

fn in_quarantine(left: u64) -> Value {
    Value::Array(vec![int(0), int(2), int(left as usize), bytes("0")])
}

impl Store {
    /// Runs a command at `now` of the node's clock.
    pub fn run(&mut self, command: &Command, now: u64) -> Value {
        self.locks.retain(|_, lock| now <= lock.until);
        match command {
            Command::Acquire(proposal) => self.acquire(proposal, now),
            Command::Release(release) => self.release(release, now),
            Command::Renew(renew) => self.renew(renew, now),
            Command::Enqueue(enlist) => self.enqueue(enlist, now),
            Command::Leave { waiter } => Value::Int(self.queue.remove(waiter).is_some().into()),
            Command::List { slots } => self.list(slots, now),
        }
    }

    fn quarantine_left(&mut self, quarantine_ms: u64, bootstrap: bool, now: u64) -> u64 {
        if bootstrap || self.unguarded {
            self.guard = Some(0);
            return 0;
        }
        match self.guard {
            Some(born) if born <= now => {
                let left = (born + quarantine_ms).saturating_sub(now);
                if born == 0 || left == 0 {
                    self.guard = Some(0);
                    return 0;
                }
                left
            }
            _ => {
                self.guard = Some(now);
                quarantine_ms
            }
        }
    }

    fn fence(&self, field: &str) -> u64 {
        self.fences.get(field).copied().unwrap_or(0)
    }

    fn raise(&mut self, field: &str, fence: u64) {
        let highest = self.fences.entry(field.to_owned()).or_insert(fence);
        *highest = fence.max(*highest);
    }

    fn set(&mut self, proposal: &Proposal, slot: &Slot, now: u64) {
        self.put(slot.field(), &meta(proposal), now + proposal.ttl_ms);
    }

    fn put(&mut self, field: &str, meta: &str, until: u64) {
        let lock = Lock {
            nonce: meta.lines().next().unwrap_or_default().to_owned(),
            meta: meta.to_owned(),
            until,
        };
        self.locks.insert(field.to_owned(), lock);
    }

    /// `SET lock meta NX PX ttl`, for the slot of this field.
    pub fn set_if_free(&mut self, field: &str, meta: &str, ttl_ms: u64, now: u64) -> Value {
        self.locks.retain(|_, lock| now <= lock.until);
        if self.locks.contains_key(field) {
            return Value::Nil;
        }
        self.put(field, meta, now + ttl_ms);
        Value::Okay
    }

    /// `ZADD fences GT CH fence field`.
    pub fn raise_fence(&mut self, field: &str, fence: u64) -> Value {
        let raised = self.fence(field) < fence || self.ignore_fences;
        self.raise(field, fence);
        int(usize::from(raised))
    }

    /// `GET guard`.
    pub fn guard(&self) -> Value {
        let guard = self.guard.map(|born| bytes(&born.to_string()));
        guard.unwrap_or(Value::Nil)
    }

    /// `PTTL guard`, at `shown` of the node's clock.
    pub fn guard_ttl(&self, shown: u64) -> Value {
        Value::Int(match self.guard {
            None => -2,
            Some(0) => (GUARD_EXPIRY_MS - shown) as i64,
            Some(_) => -1,
        })
    }

    /// A proposal without candidates.
    pub fn look_at_guard(&mut self, quarantine_ms: u64, bootstrap: bool, now: u64) -> Value {
        match self.quarantine_left(quarantine_ms, bootstrap, now) {
            0 => Value::Array(vec![int(0), int(0), Value::Int(-1), bytes("0")]),
            left => in_quarantine(left),
        }
    }

    /// Whether a proposal is sent as plain commands in these histories.
    pub fn is_taking(proposal: &Proposal) -> bool {
        proposal.candidates.slots().len() == 1 && proposal.nonce.0.is_multiple_of(2)
    }

    /// Runs the plain commands of a proposal.
    pub fn take(&mut self, proposal: &Proposal, now: u64) -> Value {
        let field = proposal.candidates.slots()[0].field();
        Value::Array(vec![
            self.set_if_free(field, &meta(proposal), proposal.ttl_ms, now),
            self.raise_fence(field, proposal.fence.get()),
            self.guard_ttl(now - self.hidden),
        ])
    }

    fn acquire(&mut self, proposal: &Proposal, now: u64) -> Value {
        let left = self.quarantine_left(proposal.quarantine_ms, proposal.bootstrap, now);
        if left > 0 {
            return in_quarantine(left);
        }
        let nonce = proposal.nonce.to_string();
        let fence = proposal.fence.get();
        let (mut free, mut highest) = (Vec::new(), 0);
        for (index, slot) in proposal.candidates.slots().iter().enumerate() {
            let field = slot.field().to_owned();
            let last = self.fence(&field);
            match self.locks.get(&field) {
                Some(lock) if lock.nonce != nonce => continue,
                Some(_) => {}
                None if last < fence || self.ignore_fences => {
                    self.set(proposal, slot, now);
                    self.fences.insert(field, fence);
                }
                None => {
                    free.push(int(index));
                    highest = highest.max(last);
                    continue;
                }
            }
            let guard_ttl = self.guard_ttl(now - self.hidden);
            return Value::Array(vec![int(1), int(index), guard_ttl]);
        }
        let fields = proposal.candidates.slots().iter().map(Slot::field);
        let ends = fields
            .filter_map(|field| self.locks.get(field))
            .map(|lock| lock.until - now);
        let wait = ends.min().map_or(-1, |wait| wait as i64);
        let cause = int(usize::from(!free.is_empty()));
        let mut refusal = vec![int(0), cause, Value::Int(wait), bytes(&highest.to_string())];
        refusal.extend(free);
        Value::Array(refusal)
    }

    fn release(&mut self, release: &ReleaseCommand, now: u64) -> Value {
        let nonce = release.nonce.to_string();
        let mut freed = Vec::new();
        for slot in release.slots.iter() {
            let field = slot.field();
            if self
                .locks
                .get(field)
                .is_some_and(|lock| lock.nonce == nonce)
            {
                self.locks.remove(field);
                freed.push(field.to_owned());
            }
            if let Some(fence) = release.ends {
                let ends = self.ends.entry(field.to_owned()).or_default();
                *ends = fence.get().max(*ends);
            }
        }
        if let Some(field) = freed.last()
            && let Some(waiter) = self.head(now)
            && let Some((instance, ticket)) = waiter.rsplit_once(':')
        {
            self.woken
                .push((instance.into(), format!("{ticket} {field}")));
        }
        let next = (!freed.is_empty()).then(|| self.head(now)).flatten();
        Value::Array(vec![int(freed.len()), bytes(&next.unwrap_or_default())])
    }

    fn renew(&mut self, renew: &RenewCommand, now: u64) -> Value {
        let mut results = Vec::new();
        for lease in renew.leases.iter() {
            let (field, nonce) = (lease.slot.field().to_owned(), lease.nonce.to_string());
            let until = now + renew.ttl_ms;
            let ended = self
                .ends
                .get(&field)
                .is_some_and(|&ends| ends >= lease.fence.get());
            results.push(Value::Int(match self.locks.get_mut(&field) {
                Some(lock) if lock.nonce == nonce && ended => {
                    self.locks.remove(&field);
                    -3
                }
                Some(lock) if lock.nonce == nonce => {
                    lock.until = if self.shortens {
                        until
                    } else {
                        until.max(lock.until)
                    };
                    1
                }
                Some(_) => 0,
                None if ended => -3,
                None => {
                    let (meta, fence) =
                        (format!("{nonce}\n{}\n\n\n", lease.fence), lease.fence.get());
                    self.locks
                        .insert(field.clone(), Lock { nonce, meta, until });
                    if self.fence(&field) > fence {
                        -1
                    } else {
                        self.fences.insert(field, fence);
                        2
                    }
                }
            }));
        }
        Value::Array(results)
    }

    fn enqueue(&mut self, enlist: &Enlist, now: u64) -> Value {
        self.head(now);
        let score = (enlist.priority().rank() << 42) + now;
        let deadline = now + enlist.wait_ms();
        let place = self
            .queue
            .entry(enlist.waiter().to_owned())
            .or_insert((score, 0));
        place.1 = deadline;
        int(self.queue.len() - 1)
    }

    /// The head of the queue, after removing waiters whose time is over.
    pub fn head(&mut self, now: u64) -> Option<String> {
        loop {
            let first = self
                .queue
                .iter()
                .min_by_key(|(name, at)| (at.0, name.as_str()));
            let (name, at) = first?;
            let name = name.clone();
            if at.1 > now {
                return Some(name);
            }
            self.queue.remove(&name);
        }
    }

    fn list(&self, slots: &[Slot], now: u64) -> Value {
        let mut held = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            if let Some(lock) = self.locks.get(slot.field()) {
                let left = Value::Int((lock.until - now) as i64);
                held.push(Value::Array(vec![int(index), bytes(&lock.meta), left]));
            }
        }
        Value::Array(held)
    }
}
