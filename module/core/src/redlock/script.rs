//! The scripts that nodes run.

/// A script. Its effect depends only on the values of its keys, its arguments and the node's clock.
/// It is atomic: if a node rejects writes (out of memory, read-only), the first write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// Locks the first free candidate.
    Acquire,
    /// Releases slots.
    Release,
    /// Extends locks, and restores those that the node has lost.
    Renew,
    /// Adds a waiter to the queue.
    Enqueue,
    /// Removes a waiter from the queue.
    Leave,
    /// Returns which locks or cool-downs exist, with their values and remaining times.
    List,
    /// Stores a cool-down.
    NoteCoolDown,
    /// Raises shared stats.
    Share,
    /// Returns the stats of other machines.
    Shared,
}

impl Script {
    /// All scripts, to be loaded on connect.
    pub const ALL: [Self; 9] = [
        Self::Acquire,
        Self::Release,
        Self::Renew,
        Self::Enqueue,
        Self::Leave,
        Self::List,
        Self::NoteCoolDown,
        Self::Share,
        Self::Shared,
    ];

    /// The text, for `SCRIPT LOAD` and `EVAL`.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Acquire => include_str!("scripts/acquire.lua"),
            Self::Release => concat!(
                include_str!("scripts/release.lua"),
                // Included only where needed, because it creates closures.
                include_str!("scripts/waiters.lua"),
                include_str!("scripts/wake.lua"),
            ),
            Self::Renew => include_str!("scripts/renew.lua"),
            Self::Enqueue => concat!(
                include_str!("scripts/waiters.lua"),
                include_str!("scripts/enqueue.lua"),
            ),
            Self::Leave => include_str!("scripts/leave.lua"),
            Self::List => include_str!("scripts/list.lua"),
            Self::NoteCoolDown => include_str!("scripts/note_cool_down.lua"),
            Self::Share => include_str!("scripts/share.lua"),
            Self::Shared => include_str!("scripts/shared.lua"),
        }
    }
}
