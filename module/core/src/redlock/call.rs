//! Commands as script calls.

use super::command::Command;
use super::names::PoolNames;
use super::script::Script;
use super::slots::Slot;

/// One call of a script: `EVALSHA <script> <number of keys> <keys> <arguments>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// The script.
    pub script: Script,
    /// `KEYS`.
    pub keys: Vec<String>,
    /// `ARGV`.
    pub args: Vec<String>,
}

impl ScriptCall {
    /// The call for a command on the keys of a pool.
    #[must_use]
    pub fn new(command: &Command, names: &PoolNames) -> Self {
        match command {
            Command::Acquire(proposal) => {
                let slots = proposal.candidates.slots();
                let keys = [names.guard(), names.fences()];
                let args = [
                    proposal.nonce.to_string(),
                    proposal.ttl_ms.to_string(),
                    proposal.fence.to_string(),
                    proposal.holder.meta(proposal.nonce, proposal.fence),
                    proposal.quarantine_ms.to_string(),
                    u8::from(proposal.bootstrap).to_string(),
                ];
                Self::on(Script::Acquire, names, keys, slots, args)
            }
            Command::Release(release) => {
                let keys = [names.queue(), names.deadlines(), names.ends()];
                let ends = release.ends.unwrap_or_default();
                let args = [
                    release.nonce.to_string(),
                    names.wake_prefix(),
                    ends.to_string(),
                ];
                Self::on(Script::Release, names, keys, &release.slots, args)
            }
            Command::Renew(renew) => {
                let mut keys = vec![names.fences(), names.ends()];
                let mut args = vec![renew.ttl_ms.to_string()];
                for lease in renew.leases.iter() {
                    keys.push(names.lock(&lease.slot));
                    args.push(lease.slot.field().into());
                    args.push(lease.nonce.to_string());
                    args.push(lease.fence.to_string());
                }
                Self {
                    script: Script::Renew,
                    keys,
                    args,
                }
            }
            Command::Enqueue(enlist) => {
                let args = vec![
                    enlist.waiter.clone(),
                    enlist.priority.rank().to_string(),
                    enlist.wait_ms.to_string(),
                ];
                Self::on_queue(Script::Enqueue, names, args)
            }
            Command::Leave { waiter } => Self::on_queue(Script::Leave, names, vec![waiter.clone()]),
            Command::List { slots } => Self {
                script: Script::List,
                keys: slots.iter().map(|slot| names.lock(slot)).collect(),
                args: Vec::new(),
            },
        }
    }

    fn on<const K: usize, const A: usize>(
        script: Script,
        names: &PoolNames,
        keys: [String; K],
        slots: &[Slot],
        args: [String; A],
    ) -> Self {
        let locks = slots.iter().map(|slot| names.lock(slot));
        let fields = slots.iter().map(|slot| slot.field().to_owned());
        Self {
            script,
            keys: keys.into_iter().chain(locks).collect(),
            args: args.into_iter().chain(fields).collect(),
        }
    }

    fn on_queue(script: Script, names: &PoolNames, args: Vec<String>) -> Self {
        Self {
            script,
            keys: vec![names.queue(), names.deadlines()],
            args,
        }
    }
}
