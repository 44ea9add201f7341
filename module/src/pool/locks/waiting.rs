//! Requests that wait here, in the queue of all machines.

use std::rc::Rc;

use openai_core::lease::PoolId;
use openai_core::redlock::PoolNames;

use super::{LOCKS, with};
use crate::config::{Main, Store};
use crate::pool::in_zone;
use crate::pool::nodes::clock;

/// A request of a pool waits.
pub fn waits(main: &Main, pool: usize, priority: i32) {
    let store = main.pools.get(pool).map(|pool| &pool.store);
    let Some(Store::Redlock { group, names, .. }) = store else {
        return;
    };
    with(*group, |member, _, _| {
        if !member.group.is_queued(names, priority) {
            member.group.queue_up(names, priority, clock());
        }
    });
}

/// The highest priority that waits on this machine, by the zone.
fn priority(pool: PoolId) -> Option<i32> {
    in_zone(|zone| zone.waiting_priority(pool)).flatten()
}

/// Keeps places as long as somebody waits.
pub(super) fn see_to_queues(group: usize) {
    for names in with(group, |member, _, _| member.group.queued_in()).unwrap_or_default() {
        let waiting = pool_of(group, &names).and_then(priority);
        with(group, |member, _, _| match waiting {
            Some(priority) => member.group.queue_up(&names, priority, clock()),
            None => member.group.unqueue(&names),
        });
    }
}

/// A lock has been taken: it is the turn of others, if they wait.
pub(super) fn has_had_its_turn(group: usize, names: &Rc<PoolNames>) {
    let crowded = with(group, |member, _, _| member.group.is_crowded(names));
    if crowded != Some(true) {
        return;
    }
    let waiting = pool_of(group, names).and_then(priority);
    with(group, |member, _, _| match waiting {
        Some(priority) => member.group.requeue(names, priority),
        None => member.group.unqueue(names),
    });
}

fn pool_of(group: usize, names: &PoolNames) -> Option<PoolId> {
    LOCKS.with_borrow(|locks| locks.member(group)?.pool_of(names))
}
