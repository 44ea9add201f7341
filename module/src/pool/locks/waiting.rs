//! This machine's position in the queue that all machines share.

use std::rc::Rc;

use openai_core::lease::PoolId;
use openai_core::redlock::PoolNames;

use super::{LOCKS, with};
use crate::config::{Main, Store};
use crate::pool::in_zone;
use crate::pool::nodes::clock;

/// Queues this machine on the nodes, because a request of a pool waits.
pub fn waits(main: &Main, pool: usize, priority: i32) {
    let store = main.pools.get(pool).map(|pool| &pool.store);
    let Some(Store::Redlock { group, names, .. }) = store else {
        return;
    };
    with(*group, |member, _, _| {
        member.group.join(names, priority, clock());
    });
}

/// Highest priority among the requests of a pool that wait on this machine.
fn priority(pool: PoolId) -> Option<i32> {
    in_zone(|zone| zone.waiting_priority(pool)).flatten()
}

/// Keeps this machine's positions in the queues as long as requests wait here, and removes
/// the others.
pub(super) fn maintain_queues(group: usize) {
    for names in with(group, |member, _, _| member.group.queued_in()).unwrap_or_default() {
        let waiting = pool_of(group, &names).and_then(priority);
        with(group, |member, _, _| match waiting {
            Some(priority) => member.group.stay(&names, priority, clock()),
            None => member.group.unqueue(&names),
        });
    }
}

/// Moves this machine to the end of a pool's queue after it has taken a lock, if other
/// machines wait; removes it if no request waits here.
pub(super) fn after_turn(group: usize, names: &Rc<PoolNames>) {
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
