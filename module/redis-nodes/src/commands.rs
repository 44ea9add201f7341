//! Packed commands that lock and unlock a slot. They are packed once for each slot. Only nonce,
//! fence and time differ between leases, and are written into a copy.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use openai_core::redlock::{
    Candidates, Command, Fence, Holder, NodeCheck, Nonce, PoolNames, Proposal, ReleaseCommand,
    ScriptCall, Slot, TakeCall,
};

use super::call;

/// The commands that lock and unlock one slot.
pub struct SlotCommands {
    /// The slot.
    pub slot: Slot,
    names: Rc<PoolNames>,
    ttl_ms: u64,
    packed: OnceCell<Option<Packed>>,
    /// The last fence that this worker has proposed for the slot.
    proposed: Cell<Fence>,
}

struct Packed {
    take: Form,
    release: Form,
}

/// Packed commands with the positions of the parts that vary.
struct Form {
    text: Vec<u8>,
    nonces: Vec<usize>,
    fences: Vec<usize>,
    starts: Vec<usize>,
}

/// Values that stand for the variable parts. They have the same length as real values.
const NONCE: u128 = u128::MAX;
const FENCE: u64 = 1_111_111_111_111_111;
const START: u64 = 2_222_222_222_222;

impl SlotCommands {
    /// Makes the commands of a slot of a pool. `ttl_ms` is the time to live of its locks in
    /// milliseconds.
    pub fn new(slot: Slot, names: Rc<PoolNames>, ttl_ms: u64) -> Self {
        Self {
            slot,
            names,
            ttl_ms,
            packed: OnceCell::new(),
            proposed: Cell::default(),
        }
    }

    /// The highest known fence of the slot; `granted` is the highest that has been granted.
    pub fn known_fence(&self, granted: u64) -> Fence {
        Fence::new(granted)
            .unwrap_or_default()
            .max(self.proposed.get())
    }

    /// Notes a fence that is about to be proposed.
    pub fn propose(&self, fence: Fence) {
        self.proposed.set(fence);
    }

    fn packed(&self, owner: &str) -> Option<&Packed> {
        let pack = || Packed::new(&self.slot, &self.names, owner, self.ttl_ms);
        self.packed.get_or_init(pack).as_ref()
    }

    /// Appends the commands that lock the slot to `out`. `false` if the values do not fit the
    /// packed commands; a script must be used then.
    pub fn take(
        &self,
        owner: &str,
        (nonce, fence, start_ms): (Nonce, Fence, u64),
        out: &mut Vec<u8>,
    ) -> bool {
        let packed = self.packed(owner);
        packed.is_some_and(|packed| packed.take.fill(nonce, fence.get(), start_ms, out))
    }

    /// Appends the command that releases the lock to `out`. `ends` is the fence of the lock if
    /// nodes may still receive a renewal of it.
    pub fn release(&self, owner: &str, nonce: Nonce, ends: Option<Fence>, out: &mut Vec<u8>) {
        let packed = self.packed(owner).filter(|_| ends.is_none());
        if !packed.is_some_and(|packed| packed.release.fill(nonce, FENCE, START, out)) {
            out.extend(call::by_digest(&self.release_call(nonce, ends)));
        }
    }

    /// The script call that releases the lock, for a node that does not have the script any more.
    pub fn release_call(&self, nonce: Nonce, ends: Option<Fence>) -> ScriptCall {
        let slots = [self.slot.clone()].into();
        let release = Command::Release(ReleaseCommand { slots, nonce, ends });
        ScriptCall::new(&release, &self.names)
    }
}

fn plain(words: &[String]) -> Vec<u8> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(word);
    });
    command.get_packed_command()
}

/// The commands that check whether a node works, for all pools, and their number.
pub fn check(pools: &[Rc<PoolNames>]) -> (Rc<[u8]>, usize) {
    let commands = pools.iter().flat_map(|names| NodeCheck::commands(names));
    let mut packed: Vec<_> = commands.map(|words| plain(&words)).collect();
    packed.extend(
        pools
            .first()
            .map(|names| call::by_digest(&NodeCheck::call(names))),
    );
    (packed.concat().into(), packed.len())
}

impl Packed {
    fn new(slot: &Slot, names: &PoolNames, owner: &str, ttl_ms: u64) -> Option<Self> {
        let nonce = Nonce(NONCE);
        let proposal = Proposal {
            candidates: Candidates::in_order(vec![slot.clone()])?,
            nonce,
            ttl_ms,
            fence: Fence::new(FENCE)?,
            holder: Holder::new(owner, "", START),
            quarantine_ms: 0,
            bootstrap: false,
        };
        let mut take = vec![];
        for words in TakeCall::new(&proposal, slot, names).commands {
            take.extend(plain(&words));
        }
        let release = Command::Release(ReleaseCommand {
            slots: [slot.clone()].into(),
            nonce,
            ends: None,
        });
        let release = call::by_digest(&ScriptCall::new(&release, names));
        let (take, release) = (Form::new(take), Form::new(release));
        // Not if a name contains one of the placeholder values.
        let sound = take.blanks() == (1, 2, 1) && release.blanks() == (1, 0, 0);
        sound.then_some(Self { take, release })
    }
}

impl Form {
    fn new(text: Vec<u8>) -> Self {
        let positions = |blank: String| memchr::memmem::find_iter(&text, &blank).collect();
        Self {
            nonces: positions(Nonce(NONCE).to_string()),
            fences: positions(FENCE.to_string()),
            starts: positions(START.to_string()),
            text,
        }
    }

    fn blanks(&self) -> (usize, usize, usize) {
        (self.nonces.len(), self.fences.len(), self.starts.len())
    }

    fn fill(&self, nonce: Nonce, fence: u64, start_ms: u64, out: &mut Vec<u8>) -> bool {
        let (mut fences, mut starts) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (fence, start) = (fences.format(fence), starts.format(start_ms));
        if (fence.len(), start.len()) != (16, 13) {
            return false;
        }
        let from = out.len();
        out.extend_from_slice(&self.text);
        let copy = &mut out[from..];
        let nonce = hex(nonce);
        for &at in &self.nonces {
            copy[at..at + 32].copy_from_slice(&nonce);
        }
        for &at in &self.fences {
            copy[at..at + 16].copy_from_slice(fence.as_bytes());
        }
        for &at in &self.starts {
            copy[at..at + 13].copy_from_slice(start.as_bytes());
        }
        true
    }
}

fn hex(nonce: Nonce) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(nonce.0.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}
