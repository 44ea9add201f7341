use crate::redlock::*;

fn slot(key: &str, ordinal: u32) -> Slot {
    Slot::new(key, ordinal).unwrap()
}

#[test]
fn keys_are_named_as_other_clients_expect_them() {
    let names = PoolNames::new("", "main").unwrap();
    assert_eq!(names.lock(&slot("primary", 3)), "{main}:l:primary:3");
    let names = PoolNames::new("gw:", "main").unwrap();
    assert_eq!(names.pool(), "main");
    assert_eq!(names.lock(&slot("k-1", 0)), "gw:{main}:l:k-1:0");
    let others = [
        (names.fences(), "f"),
        (names.guard(), "g"),
        (names.queue(), "q"),
        (names.deadlines(), "qd"),
        (names.wake_channel("host-1").unwrap(), "w:host-1"),
        (names.cool_down("k-1"), "c:k-1"),
        (names.cool_downs(), "c"),
    ];
    for (name, suffix) in others {
        assert_eq!(name, format!("gw:{{main}}:{suffix}"));
    }
}

#[test]
fn names_that_would_move_the_hash_tag_are_refused() {
    for prefix in ["a{", "}", "a b", "\n", "é", &"x".repeat(65)] {
        let error = PoolNames::new(prefix, "main").unwrap_err();
        assert_eq!(error, NameError::Prefix(prefix.into()));
    }
    for name in ["", "a}b", "{", "a:b", "a b", &"x".repeat(65)] {
        assert!(PoolNames::new("", name).is_err(), "{name:?}");
        assert!(Slot::new(name, 0).is_err(), "{name:?}");
        assert!(Enlist::new(name, 0, Priority::default(), 1).is_err());
    }
}

#[test]
fn candidates_are_few_and_distinct() {
    let slots = |count| (0..count).map(|n| slot("k", n)).collect::<Vec<_>>();
    let in_order = |slots: Vec<Slot>| Candidates::in_order(slots).map(|all| all.slots().to_vec());
    assert_eq!(in_order(slots(16)), Some(slots(16)));
    for wrong in [vec![], slots(17), [slots(3), slots(1)].concat()] {
        assert_eq!(in_order(wrong), None);
    }
}

#[test]
fn what_clients_call_themselves_cannot_break_a_listing() {
    let long = "é".repeat(100);
    let holder = Holder::new("a\nb\0", &long, 5);
    let meta = holder.meta(Nonce(1), Fence::new(9).unwrap());
    let nonce = Nonce(1).to_string();
    assert_eq!(meta, format!("{nonce}\n9\n5\nab\n{}", "é".repeat(64)));
}

#[test]
fn fences_rise_even_when_the_wall_clock_goes_back() {
    let block = |number| Fence::new(number * Fence::BLOCK).unwrap();
    let mut clock = FenceClock::default();
    assert_eq!(clock.propose(10_000, Fence::default()), block(10));
    assert_eq!(clock.propose(500, block(10)), block(11));
    clock.saw(Fence::new(50_000).unwrap());
    clock.saw(Fence::new(20_000).unwrap());
    assert_eq!(clock.propose(10_000, block(11)), block(49));
    assert_eq!(Fence::new(1 << 53), None);
}

#[test]
fn a_fence_leaves_room_for_those_its_lock_is_handed_to() {
    let mut clock = FenceClock::default();
    for (wall, known) in [
        (0, 1),
        (1, 1_024),
        (7_000, 6_000),
        (7_000, 7_168),
        (u64::MAX, 1),
    ] {
        let fence = clock.propose(wall, Fence::new(known).unwrap()).get();
        assert!(
            fence > known && fence.is_multiple_of(Fence::BLOCK),
            "{fence}"
        );
        assert!(Fence::new(fence + Fence::BLOCK - 1).is_some(), "{fence}");
    }
}

#[test]
fn a_fence_near_the_end_of_all_fences_is_not_believed() {
    let now = 1_800_000_000_000_000;
    let mut clock = FenceClock::default();
    let mut propose = |saw: Fence| {
        clock.saw(saw);
        clock.propose(now, Fence::default())
    };
    let first = propose(Fence::default());
    assert_eq!(propose(Fence::MAX), first);
    let years_ahead = Fence::new(5_000_000_000_000_000).unwrap();
    assert!(propose(years_ahead) > years_ahead);
}

#[test]
fn deadlines_do_not_wrap_around() {
    let timing = |ttl_ms| Timing {
        ttl_ms,
        drift: Drift::default(),
    };
    assert_eq!(timing(30_000).deadline(100), 100 + 30_000 - 302);
    assert_eq!(timing(150).deadline(0), 150 - 4, "drift is rounded up");
    assert_eq!(timing(30_000).validity(100, 90_000), 0);
    assert_eq!(
        timing(2).deadline(7),
        7,
        "nothing is left of so short a lease"
    );
    assert!(!timing(2).worthwhile(7, 7));
    assert_eq!(timing(u64::MAX).deadline(u64::MAX), u64::MAX);
    // A clock that goes back is treated as one that stands still.
    assert!(timing(1_000).worthwhile(500, 400));
    let delay = RetryDelay {
        min_ms: 5,
        jitter_ms: 10,
    };
    for (elapsed, random, after) in [
        (0, 0, 5),
        (20, 0, 21),
        (20, 21, 31),
        (u64::MAX, 3, u64::MAX),
    ] {
        assert_eq!(delay.after(elapsed, random), after);
    }
}
