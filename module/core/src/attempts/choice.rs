//! The choice of a target for the next attempt.

use openai_wire::ApiError;

use super::refusal::seconds;

/// Targets of a request, by their positions. Positions from 63 on share one element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetSet(u64);

impl TargetSet {
    /// Adds the target at this position.
    pub fn add(&mut self, at: usize) {
        self.0 |= 1 << at.min(63);
    }

    /// Adds the targets of another set.
    pub fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether the target at this position is in the set.
    #[must_use]
    pub fn contains(self, at: usize) -> bool {
        self.0 >> at.min(63) & 1 == 1
    }

    /// Whether the set has no targets.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Availability of a target for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// A key is free, or will be when another request has ended.
    Key,
    /// The circuit is open.
    Open {
        /// Milliseconds until requests may be sent again.
        ms: u64,
    },
    /// All keys are cooling down.
    CoolingDown {
        /// Milliseconds until the first cool-down ends.
        soonest_ms: u64,
        /// Whether the request can wait that long.
        in_time: bool,
    },
    /// All keys are invalid or out of quota.
    Unhealthy {
        /// Milliseconds until the first cool-down ends.
        soonest_ms: u64,
    },
    /// The target has no key, or the request has tried all of its keys.
    None,
}

/// Chooses one of `count` targets, which are in the order of preference.
///
/// Returns the first target that has a key. Targets in `later` come after the others, targets in
/// `never` are not chosen. If no target has a key, returns the first one with a key whose cool-down
/// ends in time. `prospect` returns the availability of a target and is called only until a target
/// is chosen.
///
/// # Errors
/// When no target can be chosen: the error for the client.
pub fn choose(
    count: usize,
    later: TargetSet,
    never: TargetSet,
    mut prospect: impl FnMut(usize) -> Prospect,
) -> Result<usize, ApiError> {
    let (mut waits, mut cool, mut open) = (None, None::<u64>, None::<u64>);
    let mut healed = None::<u64>;
    let sooner = |known: Option<u64>, ms: u64| Some(known.map_or(ms, |known| known.min(ms)));
    let all = || (0..count).filter(|&at| !never.contains(at));
    let first = all().filter(|&at| !later.contains(at));
    for at in first.chain(all().filter(|&at| later.contains(at))) {
        match prospect(at) {
            Prospect::Key => return Ok(at),
            Prospect::Open { ms } => open = sooner(open, ms),
            Prospect::CoolingDown {
                soonest_ms,
                in_time,
            } => {
                waits = waits.or(in_time.then_some(at));
                cool = sooner(cool, soonest_ms);
            }
            Prospect::Unhealthy { soonest_ms } => healed = sooner(healed, soonest_ms),
            Prospect::None => {}
        }
    }
    waits.ok_or_else(|| match (cool, open) {
        (Some(ms), open) => ApiError::KeysRateLimited {
            retry_after: seconds(ms.min(open.unwrap_or(ms))),
        },
        (None, Some(ms)) => ApiError::UpstreamsOpen {
            retry_after: seconds(ms),
        },
        (None, None) => ApiError::NoHealthyKey {
            retry_after: seconds(healed.unwrap_or_default()),
        },
    })
}
