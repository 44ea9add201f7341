//! What a history is made of, drawn from its seed.

use openai_core::redlock::{Drift, Slot, Timing};

use crate::rng::Rng;

pub const TTL: u64 = 1_000;
pub const QUARANTINE: u64 = TTL;
pub const NODE_TIMEOUT: u64 = 60;
/// When clients stop asking for leases.
pub const END: u64 = 8 * TTL;
/// Wall clocks agree to within a quarter of the TTL.
const WALL_SKEW: i64 = (TTL / 4) as i64 / 2;
/// How far a wall clock may be behind all the same where no node forgets anything.
const MOST_BEHIND: u64 = 3_600_000;
/// Two clocks drift apart by no more than the 1 % that is taken off a lease.
const DRIFT_PPM: i64 = 4_500;

pub const TIMING: Timing = Timing {
    ttl_ms: TTL,
    drift: Drift {
        ppm: 10_000,
        margin_ms: 2,
    },
};

/// A rule that a history is run without, to see the checker find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Clients count a majority of some of the nodes.
    Quorum,
    /// Nodes that forgot everything grant at once.
    Guard,
    /// Nodes that came back with an old snapshot are trusted.
    Incarnation,
    /// Leases are counted from when they were won.
    Validity,
    /// Nodes take any fence.
    Fence,
    /// Fences of a lock that are given by hand-over may be those of the next lock.
    Block,
    /// Nodes keep a lock for as long as they were told last.
    Shorten,
    /// Nodes put back what has been given back.
    Ends,
    /// Answers conclude what was asked last about the lock.
    Operation,
    /// Locks are handed over while nodes have yet to vote on them.
    Votes,
    /// Nobody deletes the locks that nodes keep for longer than their services have them.
    Tend,
}

/// A clock that starts anywhere and runs not quite right.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: i64,
    ppm: i64,
}

impl Clock {
    fn random(rng: &mut Rng) -> Self {
        Self {
            offset: rng.within(1_000_000, 2_000_000) as i64,
            ppm: rng.around(DRIFT_PPM),
        }
    }

    pub fn at(self, real: u64) -> u64 {
        let real = real as i64;
        (real + self.offset + real * self.ppm / 1_000_000) as u64
    }

    /// The first real instant at which it shows `local` or later.
    pub fn real(self, local: u64) -> u64 {
        let span = (local as i64 - self.offset).max(0);
        let guess = (span * 1_000_000 / (1_000_000 + self.ppm)).max(3) as u64 - 3;
        (guess..)
            .find(|&real| self.at(real) >= local)
            .unwrap_or(guess)
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// `FLUSHALL`: the connections stay.
    Flush,
    /// Killed, and back after so long without memory.
    Empty(u64),
    /// Killed, and back after so long with its last snapshot.
    Stale(u64),
    /// Takes a snapshot.
    Snapshot,
    /// Stopped for so long; what it is sent waits.
    Hang(u64),
    /// A client is stopped for so long; what it is sent waits.
    Pause(u64),
    /// A client is gone for good.
    Crash,
}

impl Fault {
    /// Whether a node forgets something.
    fn forgets(&self) -> bool {
        matches!(self, Self::Flush | Self::Empty(_) | Self::Stale(_))
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub nodes: u8,
    pub slots: Vec<Slot>,
    pub node_clocks: Vec<Clock>,
    /// Monotonic clock, and how far the wall clock is off; those of a machine are workers
    /// of the same.
    pub clients: Vec<(Clock, i64)>,
    pub workers: usize,
    pub fifo: bool,
    pub latency: u64,
    pub drop: u64,
    pub duplicate: u64,
    pub delay: u64,
    /// When, and on which node or client.
    pub faults: Vec<(u64, usize, Fault)>,
}

impl Plan {
    pub fn random(rng: &mut Rng) -> Self {
        let nodes = *rng.pick(&[1, 2, 3, 3, 3, 4, 5, 5, 5, 7, 9]);
        let slots = rng.within(1, 3) as u32;
        let machines = rng.within(2, 3);
        let workers = *rng.pick(&[1, 1, 2, 2, 3]);
        let mut plan = Self {
            nodes,
            slots: (0..slots)
                .map(|slot| Slot::new("k", slot).unwrap())
                .collect(),
            node_clocks: (0..nodes).map(|_| Clock::random(rng)).collect(),
            clients: (0..machines)
                .flat_map(|_| {
                    let clocks = (Clock::random(rng), rng.around(WALL_SKEW));
                    std::iter::repeat_n(clocks, workers)
                })
                .collect(),
            workers,
            fifo: rng.percent(50),
            latency: *rng.pick(&[1, 5, 20, 50]),
            drop: *rng.pick(&[0, 0, 3, 15]),
            duplicate: *rng.pick(&[0, 0, 5]),
            delay: *rng.pick(&[0, 2, 10]),
            faults: Vec::new(),
        };
        for _ in 0..*rng.pick(&[0, 1, 3, 6]) {
            plan.fault_on_node(rng);
        }
        for _ in 0..*rng.pick(&[0, 1, 2]) {
            let fault = match rng.within(0, 4) {
                0 => Fault::Crash,
                _ => Fault::Pause(rng.within(TTL / 4, 3 * TTL)),
            };
            plan.faults
                .push((rng.within(0, END), rng.next() as usize, fault));
        }
        if !plan.faults.iter().any(|(_, _, fault)| fault.forgets()) && rng.percent(50) {
            // Nodes that remember need no clock to have fences rise.
            let behind = rng.within(0, MOST_BEHIND) as i64;
            plan.clients[..workers]
                .iter_mut()
                .for_each(|client| client.1 -= behind);
        }
        plan
    }

    /// Nothing goes wrong: whatever was granted in vain must be given back, not
    /// left to expire.
    pub fn calm(rng: &mut Rng) -> Self {
        Self {
            fifo: true,
            drop: 0,
            duplicate: 0,
            delay: 0,
            faults: Vec::new(),
            ..Self::random(rng)
        }
    }

    /// Whether nodes do what a client asks in its order and once at most, and forget nothing.
    pub fn is_orderly(&self) -> bool {
        let is_of_client = |fault: &Fault| matches!(fault, Fault::Pause(_) | Fault::Crash);
        let mut faults = self.faults.iter();
        self.fifo && self.duplicate == 0 && faults.all(|(_, _, fault)| is_of_client(fault))
    }

    /// Whether nothing goes wrong, so that what is sent arrives within `latency`.
    pub fn is_calm(&self) -> bool {
        self.is_orderly() && self.drop == 0 && self.delay == 0 && self.faults.is_empty()
    }

    fn fault_on_node(&mut self, rng: &mut Rng) {
        let (at, node) = (rng.within(0, END), rng.next() as usize);
        let down = rng.within(0, TTL / 2);
        let fault = match rng.within(0, 5) {
            0 => Fault::Flush,
            1 => Fault::Empty(down),
            2 | 3 => Fault::Stale(down),
            4 => {
                // All of them at once.
                for node in 0..usize::from(self.nodes) {
                    self.faults.push((at, node, Fault::Flush));
                }
                return;
            }
            _ => Fault::Hang(rng.within(TTL / 20, 2 * TTL)),
        };
        if matches!(fault, Fault::Stale(_)) {
            let before = at.saturating_sub(rng.within(0, 3 * TTL));
            self.faults.push((before, node, Fault::Snapshot));
        }
        self.faults.push((at, node, fault));
    }
}
