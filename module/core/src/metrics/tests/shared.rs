use proptest::prelude::*;

use super::super::*;
use super::daily::others_since;
use super::{bytes, record, sum, text};
use crate::redlock::share::RowSums;

const TODAY: u64 = 20_000;

fn day(number: u64) -> Day {
    Day::from_number(number)
}

fn add(metrics: &mut MetricsZone<'_>, on: u64, service: &str, key: &str, model: &str) {
    let mut record = record(service, key, model, 7);
    record.day = day(on);
    metrics.add(&record);
}

/// Passes the counts of one zone to another.
fn share(from: &MetricsZone<'_>, to: &mut MetricsZone<'_>) -> usize {
    let rows: Vec<_> = from.rows_by_day(Day::default()).collect();
    let rows = rows.iter().map(|(day, name, sum)| (*day, &**name, *sum));
    to.raise_others(day(TODAY), rows)
}

fn requests(sum: u64) -> Counters {
    let mut counters = Counters::default();
    counters.requests[0] = sum;
    counters
}

#[test]
fn machines_of_other_versions_know_the_order_of_sums() {
    let counters = Counters {
        requests: [12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
        attempts: 1,
        prompt: 2,
        completion: 3,
        cached: 4,
        reasoning: 5,
        estimated: 6,
        cost: 7,
        unpriced: 8,
        wait_ms: 9,
        hold_ms: 10,
        retries: 11,
        failed_locks: 33,
    };
    let mut inorder: Vec<_> = (1..=21).collect();
    // Room for outcomes that are still to be added.
    inorder.resize(32, 0);
    inorder.push(33);
    assert_eq!(counters.to_sums(), RowSums::new(&inorder));
    assert_eq!(Counters::from_sums(&counters.to_sums()), counters);
    // More sums than this version knows, and fewer.
    let more: Vec<_> = (1..=40).collect();
    assert_eq!(Counters::from_sums(&RowSums::new(&more)), counters);
    let fewer = Counters::from_sums(&RowSums::new(&[1, 2]));
    assert_eq!((fewer.attempts, fewer.prompt, fewer.hold_ms), (1, 2, 0));
}

#[test]
fn what_others_are_told_is_what_was_counted() {
    let (mut here, mut there) = (bytes(16), bytes(16));
    let mut here = MetricsZone::format(bytemuck::cast_slice_mut(&mut here)).unwrap();
    let mut there = MetricsZone::format(bytemuck::cast_slice_mut(&mut there)).unwrap();
    for (on, service, key, model) in [
        (TODAY - 40, "app", "k1", "gpt"),
        (TODAY - 1, "app", "k2", "gpt"),
        (TODAY, "app", "k1", "mini"),
        (TODAY, "", "", ""),
        (TODAY, "other", "k1", "gpt"),
    ] {
        add(&mut here, on, service, key, model);
        assert_eq!(share(&here, &mut there), 0);
        assert_eq!(share(&here, &mut there), 0, "again, to no effect");
    }
    let counted = here.stats(day(TODAY), None, None);
    let shared = there.stats(day(TODAY), None, None);
    assert_eq!(counted.since, shared.since);
    for (counted, shared) in [
        (&counted.services, &shared.services),
        (&counted.models, &shared.models),
        (&counted.pools, &shared.pools),
        (&counted.keys, &shared.keys),
    ] {
        // Each zone has its own order.
        let mut counted: Vec<_> = counted.iter().map(|l| (&l.name, l.here)).collect();
        let mut shared: Vec<_> = shared.iter().map(|l| (&l.name, l.elsewhere)).collect();
        counted.sort_by_key(|(name, _)| *name);
        shared.sort_by_key(|(name, _)| *name);
        assert_eq!(counted, shared);
    }
    assert_eq!(
        there.rows_by_day(Day::default()).count(),
        0,
        "that is no own"
    );
}

#[test]
fn what_others_have_counted_never_falls() {
    let mut memory = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut memory)).unwrap();
    let today = day(TODAY);
    let mut raise =
        |sum| metrics.raise_others(today, [(today, "s:app", requests(sum))].into_iter());
    assert_eq!((raise(5), raise(3), raise(4)), (0, 0, 0));
    assert_eq!(metrics.used_by("app", today).0.requests, 5);
    // Rows of days that are not stored, and with unknown names.
    let strange = [
        (day(TODAY - 63), "s:app"),
        (day(TODAY + 2), "s:app"),
        (today, "x:app"),
        (today, "app"),
    ];
    let strange = strange.map(|(day, name)| (day, name, requests(9)));
    assert_eq!(metrics.raise_others(today, strange.into_iter()), 2);
    assert_eq!(metrics.used_by("app", today).1.requests, 5);
}

#[test]
fn days_long_ago_do_not_push_out_others() {
    let mut memory = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut memory)).unwrap();
    let names: Vec<_> = (0..180).map(|n| format!("s:{n}")).collect();
    let mut raise = |on: u64| {
        let rows = names.iter().map(|name| (day(on), &**name, requests(1)));
        metrics.raise_others(day(TODAY), rows)
    };
    let missed: Vec<_> = (0..=KEPT_DAYS.into())
        .map(|ago| raise(TODAY - ago))
        .collect();
    let whole = missed.iter().take_while(|&&missed| missed == 0).count();
    assert!(whole > 0 && whole < missed.len(), "{missed:?}");
    let counted = |metrics: &MetricsZone<'_>, on: u64| others_since(metrics, on);
    assert_eq!(counted(&metrics, TODAY), 180);
    assert!(counted(&metrics, TODAY + 1 - whole as u64) >= 180 * whole);
}

proptest! {
    #[test]
    fn sums_are_read_as_they_were_written(sums in prop::collection::vec(any::<u64>(), 20)) {
        let sums = RowSums::new(&sums);
        let counters = Counters::from_sums(&sums);
        prop_assert_eq!(counters.to_sums(), sums);
    }
}

#[test]
fn a_file_of_a_block_that_others_know_adds_to_nothing_by_day() {
    let mut memory = [bytes(16), bytes(16), bytes(16)];
    let [old, new, other] = &mut memory;
    let mut old = MetricsZone::format(bytemuck::cast_slice_mut(old)).unwrap();
    let mut new = MetricsZone::format(bytemuck::cast_slice_mut(new)).unwrap();
    let mut other = MetricsZone::format(bytemuck::cast_slice_mut(other)).unwrap();
    add(&mut old, TODAY - 1, "app", "k1", "gpt");
    add(&mut old, TODAY, "app", "k1", "gpt");
    add(&mut other, TODAY, "app", "k1", "gpt");
    share(&other, &mut old);
    let file: Snapshot = old.used_rows().into();
    // Shared with other machines, but not in the file.
    add(&mut old, TODAY, "app", "k1", "gpt");
    new.merge_shared(file, day(TODAY));
    let used = |metrics: &mut MetricsZone<'_>| {
        let (today, month) = metrics.used_by("app", day(TODAY));
        (today.requests, month.requests)
    };
    assert_eq!(used(&mut new), (2, 3));
    assert_eq!(
        new.rows_by_day(Day::default()).count(),
        0,
        "it is not counted again"
    );
    // RowSums of the old zone and another, as nodes return them.
    let sums = [(TODAY - 1, 1), (TODAY, 3)].map(|(on, sum)| (day(on), "s:app", requests(sum)));
    new.raise_others(day(TODAY), sums.into_iter());
    assert_eq!(used(&mut new), (3, 4));
    add(&mut new, TODAY, "app", "k1", "gpt");
    assert_eq!(used(&mut new), (4, 5));
    let metrics = text(&new);
    assert_eq!(
        sum(&metrics, "openai_service_requests_total"),
        3.0,
        "{metrics}"
    );
}

#[test]
fn only_rows_that_can_be_are_taken_from_others() {
    let keys = vec!["k1".to_owned()];
    let names = SharedNames::new(&["app".to_owned()], [("main".to_owned(), keys)]);
    let today = day(TODAY);
    let accepts = |on: u64, name: &str, counters: &Counters| {
        let row = crate::redlock::share::RowId {
            day: u32::try_from(on).unwrap(),
            name: name.into(),
        };
        names.accept(&row, &counters.to_sums(), today)
    };
    let some = requests(7);
    for name in ["s:app", "s:", "s:other", "p:main", "k:main/k1", "m:gpt-4o"] {
        assert!(accepts(TODAY, name, &some), "{name}");
    }
    for name in [
        "s:app2",
        "p:spare",
        "k:main/k2",
        "k:main",
        "x:app",
        "app",
        "",
        "s",
    ] {
        assert!(!accepts(TODAY, name, &some), "{name}");
    }
    for (on, kept) in [
        (TODAY - 62, true),
        (TODAY - 63, false),
        (TODAY + 1, true),
        (TODAY + 2, false),
        (u32::MAX.into(), false),
    ] {
        assert_eq!(accepts(on, "s:app", &some), kept, "{on}");
    }
    let spoil = |change: fn(&mut Counters, u64)| {
        [1 << 51, u64::MAX].map(|value| {
            let mut counters = some;
            change(&mut counters, value);
            accepts(TODAY, "s:app", &counters)
        })
    };
    assert_eq!(spoil(|c, value| c.prompt = value), [false; 2]);
    assert_eq!(spoil(|c, value| c.hold_ms = value), [false; 2]);
    assert_eq!(spoil(|c, value| c.requests[3] = value), [false; 2]);
    assert_eq!(spoil(|c, value| c.cost = value), [true, false]);
}

#[test]
fn others_fill_half_of_the_models_at_most() {
    let mut memory = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut memory)).unwrap();
    let names: Vec<_> = (0..200).map(|n| format!("m:model-{n}")).collect();
    let rows = names.iter().map(|name| (day(TODAY), &**name, requests(1)));
    assert!(metrics.raise_others(day(TODAY), rows) >= 130);
    add(&mut metrics, TODAY, "app", "k1", "gpt-here");
    let figures = metrics.stats(day(TODAY), None, None);
    let names: Vec<_> = figures.models.iter().map(|line| &*line.name).collect();
    assert!(names.contains(&"gpt-here"), "{names:?}");
}

#[test]
fn a_request_with_tokens_that_cannot_be_counts_as_one_without() {
    let mut memory = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut memory)).unwrap();
    let mut wild = record("app", "k1", "gpt", 7);
    wild.day = day(TODAY);
    if let Some(request) = &mut wild.request {
        request.tokens.prompt = u64::MAX;
    }
    metrics.add(&wild);
    add(&mut metrics, TODAY, "app", "k1", "gpt");
    let used = metrics.used_by("app", day(TODAY)).0;
    assert_eq!(used.requests, 2);
    assert!(used.tokens < 1_000_000, "{used:?}");
}
