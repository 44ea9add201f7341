//! Shared stats: invariants under message loss.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod conversation;
mod memory;
mod sums;
mod world;

use proptest::prelude::*;

use world::{Step, World};

const MACHINES: usize = 3;

fn step(nodes: usize) -> impl Strategy<Value = Step> {
    let machine = 0..MACHINES;
    let node = 0..nodes;
    prop_oneof![
        6 => (machine.clone(), 0..4_u32, 0..3_usize, 1..1_000_u64)
            .prop_map(|(machine, row, at, more)| Step::Count { machine, row, at, more }),
        6 => (machine.clone(), any::<u64>()).prop_map(|(machine, luck)| Step::Round { machine, luck }),
        2 => machine.clone().prop_map(|machine| Step::Round { machine, luck: 0 }),
        1 => (machine.clone(), node.clone()).prop_map(|(machine, node)| Step::Reconnect { machine, node }),
        1 => machine.prop_map(|machine| Step::Restart { machine }),
        1 => (node, any::<bool>()).prop_map(|(node, notices)| Step::Empty { node, notices }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No machine ever sees more than was counted, or less than before. When all can communicate
    /// again, all see everything that any node or machine still has.
    #[test]
    fn nothing_is_doubled_and_nothing_falls(steps in prop::collection::vec(step(3), 1..80)) {
        let mut world = World::new(MACHINES, 3);
        for step in steps {
            world.take(step);
            world.check();
        }
        world.heal();
        world.check();
        world.check_all_agree();
    }

    /// Rows that a majority has acknowledged survive the machine that counted them, although
    /// minorities of the nodes lose their data, one after another.
    #[test]
    fn what_a_majority_has_is_never_lost(
        steps in prop::collection::vec(step(5), 1..60),
        minority in prop::collection::btree_set(0..5_usize, 0..=2),
        another in prop::collection::btree_set(0..5_usize, 0..=2),
    ) {
        let mut world = World::new(MACHINES, 5);
        // Only minorities lose data, below.
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Empty { .. })) {
            world.take(step);
        }
        for lost in [minority, another] {
            let safe = world.acknowledged();
            for machine in 0..MACHINES {
                world.take(Step::Restart { machine });
            }
            for node in lost {
                world.take(Step::Empty { node, notices: true });
            }
            world.heal();
            world.check();
            world.check_at_least(&safe);
        }
    }
}
