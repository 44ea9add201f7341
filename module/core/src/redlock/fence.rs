//! Fencing tokens.

use std::fmt;

/// A fencing token: of two grants of a slot, the later has the higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence(u64);

impl Fence {
    /// The highest fence: scripts compare them as doubles, exact up to 2^53. As
    /// microseconds since the epoch, that is the year 2255.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The fence with this number, if there is one.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (number <= Self::MAX.0).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes the fences that a client proposes.
///
/// A client whose wall clock is behind learns from the first refusal what fence
/// it must exceed, and proposes a higher one from then on. It does not believe a
/// fence that is nearer to [`Fence::MAX`] than to the wall clock: what it proposed
/// then would stay on the nodes, and the last fence there is cannot be exceeded.
#[derive(Clone, Copy, Debug, Default)]
pub struct FenceClock {
    seen: Fence,
    reserve: u64,
    wall_us: u64,
}

impl FenceClock {
    /// A clock that leaves so many numbers free above each fence: for the leases
    /// that a lock is handed over to, each of which takes one.
    #[must_use]
    pub fn reserving(reserve: u64) -> Self {
        Self {
            reserve,
            ..Self::default()
        }
    }

    /// A fence above all that were seen, and no lower than the wall clock, in
    /// microseconds since the epoch.
    pub fn propose(&mut self, wall_us: u64) -> Fence {
        self.wall_us = wall_us;
        let next = Fence(wall_us.max(self.seen.0.saturating_add(1))).min(Fence::MAX);
        self.seen = self.above(next);
        next
    }

    /// Takes note of a fence that stands in the way. Its owner may have handed
    /// the lock over since.
    pub fn saw(&mut self, fence: Fence) {
        if fence.0 <= self.wall_us.midpoint(Fence::MAX.0) {
            self.seen = self.seen.max(self.above(fence));
        }
    }

    fn above(&self, fence: Fence) -> Fence {
        Fence(fence.0.saturating_add(self.reserve)).min(Fence::MAX)
    }
}
