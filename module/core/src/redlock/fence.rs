//! Fencing tokens.

use std::fmt;

/// A fencing token: the later of two grants of a slot has the higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence(u64);

impl Fence {
    /// The highest fence. Scripts compare fences as doubles, which are exact up to 2^53. As
    /// microseconds since the epoch, the highest fence is in the year 2255.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Number of fences that belong to a lock: its own, and one for each lease that it is handed
    /// to. A lock's own fence is a multiple of this number and known to the nodes. So the later of
    /// two locks has the higher fences, whatever the clocks show.
    pub const BLOCK: u64 = 1 << 10;

    /// The fence with this number; `None` above [`Fence::MAX`].
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (number <= Self::MAX.0).then_some(Self(number))
    }

    /// The fence as a number.
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

/// Generates the fences that a client proposes.
///
/// Each fence begins a block of [`Fence::BLOCK`] fences that no other lock has.
///
/// A client whose wall clock is behind learns from the first refusal which fence it must exceed,
/// and proposes higher ones from then on. It ignores a fence that is nearer to [`Fence::MAX`]
/// than to the wall clock: a proposal above it would stay on the nodes, and the last fence cannot
/// be exceeded.
#[derive(Clone, Copy, Debug, Default)]
pub struct FenceClock {
    seen: Fence,
    wall_us: u64,
}

impl FenceClock {
    /// The first fence of a block: above all fences seen so far and the slot's known fence, and not
    /// below the wall clock in microseconds since the epoch. It is not above the last block.
    pub fn propose(&mut self, wall_us: u64, known: Fence) -> Fence {
        self.wall_us = wall_us;
        let above = self.seen.max(known).0.saturating_add(1);
        let block = wall_us.max(above).div_ceil(Fence::BLOCK);
        Fence(block.saturating_mul(Fence::BLOCK).min(LAST.0))
    }

    /// Stores a conflicting fence that a node has reported, unless it is too close to
    /// [`Fence::MAX`].
    pub fn saw(&mut self, fence: Fence) {
        if fence.0 <= self.wall_us.midpoint(Fence::MAX.0) {
            self.seen = self.seen.max(fence);
        }
    }
}

/// Start of the last block.
const LAST: Fence = Fence(Fence::MAX.0 + 1 - Fence::BLOCK);
