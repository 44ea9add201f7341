//! The plan of a history, generated from its seed.

use openai_core::redlock::{Drift, PoolNames, Slot, Timing};

use crate::rng::Rng;

pub const TTL: u64 = 1_000;
pub const QUARANTINE: u64 = TTL;
/// The node timeout. Any reply that is not late arrives sooner.
pub const NODE_TIMEOUT: u64 = 100;
/// When clients stop acquiring leases.
pub const END: u64 = 8 * TTL;
/// Wall clocks differ by less than a quarter of the TTL.
const WALL_SKEW: i64 = (TTL / 4) as i64 / 2;
/// How far a wall clock may be behind in histories where no node loses data.
const MOST_BEHIND: u64 = 3_600_000;
/// Two clocks drift apart by no more than the allowance of 1 %.
const DRIFT_PPM: i64 = 4_500;

pub const TIMING: Timing = Timing {
    ttl_ms: TTL,
    drift: Drift {
        ppm: 10_000,
        margin_ms: 2,
    },
};

/// The pool of all histories.
pub fn names() -> PoolNames {
    PoolNames::new("s:", "p").unwrap()
}

/// A rule that is disabled, to show that the checker detects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Clients use only some of the nodes, and count a majority of these.
    Quorum,
    /// Nodes that lost their data grant at once.
    Guard,
    /// Nodes that came back with an old snapshot are trusted.
    Incarnation,
    /// Validity is counted from the end of the attempt.
    Validity,
    /// Nodes accept any fence.
    Fence,
    /// A lock is handed over more often than it has fences, so that the next has lower ones.
    Block,
    /// Nodes keep a lock for the last requested time.
    Shorten,
    /// Nodes restore released locks.
    Ends,
    /// Answers complete the latest operation on the lock.
    Operation,
    /// Locks are handed over while votes are outstanding.
    Votes,
    /// Locks that nodes keep longer than their services are not released.
    Tend,
    /// Nodes do not show that their clock was set forward.
    Clock,
    /// A retained lock is reused with the fence of the last lease.
    ReuseFence,
    /// A retained lock is reused after its deadline.
    ReuseLate,
    /// A retained lock is released on the nodes although another worker has reused it.
    ReuseTwice,
}

/// A clock with an arbitrary start and a rate error.
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

    /// Sets the clock forward.
    pub fn set_forward(&mut self, by: u64) {
        self.offset += by as i64;
    }

    /// The first real time at which the clock shows at least `local`.
    pub fn real(self, local: u64) -> u64 {
        let span = (local as i64 - self.offset).max(0);
        let guess = (span * 1_000_000 / (1_000_000 + self.ppm)).max(3) as u64 - 3;
        (guess..)
            .find(|&real| self.at(real) >= local)
            .unwrap_or(guess)
    }
}

fn slots(count: u32) -> Vec<Slot> {
    let slots = 0..count;
    slots.map(|slot| Slot::new("k", slot).unwrap()).collect()
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// `FLUSHALL`: the connections stay.
    Flush,
    /// `SCRIPT FLUSH`.
    ForgetScripts,
    /// Killed and restarted after that time without data.
    Empty(u64),
    /// Killed and restarted after that time with its last snapshot.
    Stale(u64),
    /// Takes a snapshot.
    Snapshot,
    /// Stopped for that time; messages wait.
    Hang(u64),
    /// The node's clock is set forward by that time.
    ClockForward(u64),
    /// A client is stopped for that time; messages wait.
    Pause(u64),
    /// A client crashes.
    Crash,
}

impl Fault {
    /// Whether a node loses data.
    fn forgets(&self) -> bool {
        matches!(self, Self::Flush | Self::Empty(_) | Self::Stale(_))
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub nodes: u8,
    pub slots: Vec<Slot>,
    pub node_clocks: Vec<Clock>,
    /// Monotonic clock, and error of the wall clock; those of a machine belong to its workers.
    pub clients: Vec<(Clock, i64)>,
    pub workers: usize,
    /// Whether machines retain locks for the next lease.
    pub retains: bool,
    pub latency: u64,
    /// How many messages in a thousand break or silence their connection.
    pub cut: u64,
    /// How many messages in a hundred are late.
    pub delay: u64,
    /// Time, node or client, and fault.
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
            slots: self::slots(slots),
            node_clocks: (0..nodes).map(|_| Clock::random(rng)).collect(),
            clients: (0..machines)
                .flat_map(|_| {
                    let clocks = (Clock::random(rng), rng.around(WALL_SKEW));
                    std::iter::repeat_n(clocks, workers)
                })
                .collect(),
            workers,
            retains: false,
            latency: *rng.pick(&[1, 5, 20, 50]),
            cut: *rng.pick(&[0, 0, 2, 10]),
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
            // If nodes keep their data, fences ascend even when wall clocks are wrong.
            let behind = rng.within(0, MOST_BEHIND) as i64;
            plan.clients[..workers]
                .iter_mut()
                .for_each(|client| client.1 -= behind);
        }
        plan
    }

    /// A plan with late messages as the only fault. The workers of one machine hand locks over, and
    /// there are enough slots that a late message usually finds its slot free.
    pub fn late(rng: &mut Rng) -> Self {
        let calm = Self::calm(rng);
        Self {
            nodes: 3,
            node_clocks: vec![calm.node_clocks[0]; 3],
            slots: slots(8),
            clients: vec![calm.clients[0]; 6],
            workers: 6,
            latency: 1,
            delay: 10,
            ..calm
        }
    }

    /// A plan in which clocks of nodes are set forward, alone and while another node does not
    /// answer. Before that, all clients have read the clocks. The steps are larger than what is not
    /// detected.
    pub fn clocks(rng: &mut Rng) -> Self {
        let nodes = *rng.pick(&[3, 3, 5]);
        let mut plan = Self {
            nodes,
            node_clocks: (0..nodes).map(|_| Clock::random(rng)).collect(),
            latency: *rng.pick(&[1, 5]),
            ..Self::calm(rng)
        };
        for _ in 0..rng.within(1, 3) {
            let (at, node) = (
                rng.within(TTL, END),
                rng.next() as usize % usize::from(nodes),
            );
            let most = *rng.pick(&[2 * TTL, MOST_BEHIND]);
            let step = rng.within(TTL / 8, most);
            let fault = Fault::ClockForward(step);
            plan.faults.push((at, node, fault));
            let hang = Fault::Hang(rng.within(TTL / 4, 2 * TTL));
            let before = at.saturating_sub(rng.within(0, TTL)).max(TTL);
            for other in 1..nodes.div_ceil(2) {
                let other = (node + usize::from(other)) % usize::from(nodes);
                plan.faults.push((before, other, hang));
            }
        }
        plan
    }

    /// A plan without faults. Locks that were granted in vain must be released, not left to expire.
    pub fn calm(rng: &mut Rng) -> Self {
        Self {
            cut: 0,
            delay: 0,
            faults: Vec::new(),
            ..Self::random(rng)
        }
    }

    /// A plan with all kinds of faults, in which machines retain locks.
    pub fn retaining(rng: &mut Rng) -> Self {
        Self {
            retains: true,
            ..Self::random(rng)
        }
    }

    /// Whether nodes execute each client's commands in order, and lose no data: no connection ends
    /// before its client does.
    pub fn is_orderly(&self) -> bool {
        let is_of_client = |fault: &Fault| matches!(fault, Fault::Pause(_) | Fault::Crash);
        let mut faults = self.faults.iter();
        self.cut == 0 && faults.all(|(_, _, fault)| is_of_client(fault))
    }

    /// Whether there are no faults, so that each message arrives within `latency`.
    pub fn is_calm(&self) -> bool {
        self.cut == 0 && self.delay == 0 && self.faults.is_empty()
    }

    fn fault_on_node(&mut self, rng: &mut Rng) {
        let (at, node) = (rng.within(0, END), rng.next() as usize);
        let down = rng.within(0, TTL / 2);
        let fault = match rng.within(0, 6) {
            0 => Fault::Flush,
            5 => Fault::ForgetScripts,
            1 => Fault::Empty(down),
            2 | 3 => Fault::Stale(down),
            4 => {
                // All nodes at once.
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
