//! A process that dies while it changes the zone.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::super::words::words;
use super::super::zone::{MetricsTable, TABLES};
use super::super::*;
use super::{bytes, record};

const DAY: u64 = 20_000;

thread_local! {
    /// Number of fences to pass before the process dies; `None` if it lives.
    static FENCES: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Ends the change at the chosen fence.
pub fn at_fence() {
    if let Some(left) = FENCES.get() {
        FENCES.set(left.checked_sub(1));
        if left == 0 {
            resume_unwind(Box::new("died"));
        }
    }
}

fn open(zone: &mut [u64]) -> MetricsZone<'_> {
    MetricsZone::open(bytemuck::cast_slice_mut(zone)).unwrap()
}

/// The zone before a change, at each of its fences, and after it.
fn stages(zone: &[u64], change: impl Fn(&mut MetricsZone<'_>)) -> Vec<Vec<u64>> {
    let mut stages = vec![zone.to_vec()];
    loop {
        let mut zone = zone.to_vec();
        FENCES.set(Some(stages.len() - 1));
        let end = catch_unwind(AssertUnwindSafe(|| change(&mut open(&mut zone))));
        let has_died = FENCES.take().is_none();
        stages.push(zone);
        match end {
            Ok(()) => return stages,
            Err(panic) if !has_died => resume_unwind(panic),
            Err(_) => {}
        }
    }
}

/// Calls `check` with what a process can leave behind that dies during a change: all writes before
/// a fence, and some of those up to the next one. Returns the number of calls.
fn each_death(stages: &[Vec<u64>], mut check: impl FnMut(&mut MetricsZone<'_>)) -> usize {
    let mut calls = 0;
    let mut zone = stages[0].clone();
    for stage in stages.windows(2) {
        let changed: Vec<_> = (0..zone.len())
            .filter(|&at| stage[0][at] != stage[1][at])
            .collect();
        for cut in 0..=changed.len() {
            for written in [&changed[..cut], &changed[cut..]] {
                zone.copy_from_slice(&stage[0]);
                for &at in written {
                    zone[at] = stage[1][at];
                }
                check(&mut open(&mut zone));
                calls += 1;
            }
        }
    }
    calls
}

/// A request of which every name is new.
fn other(on: u64) -> Record<'static> {
    let mut record = record("job", "k2", "m2", 5);
    record.day = Day::from_number(on);
    if let Some(request) = &mut record.request {
        request.pool = "spare";
    }
    record
}

/// All sums: of rows, histograms and cells.
fn sums(metrics: &MetricsZone<'_>) -> Vec<u64> {
    let rows = metrics.rows.iter().flat_map(|row| words(&row.counters));
    let times = metrics.times.iter().flat_map(words);
    let cells = metrics.cells.iter().flat_map(words);
    rows.chain(times).chain(cells).copied().collect()
}

/// Each named row is found by its name, and no other row has the name.
fn assert_all_are_found(metrics: &MetricsZone<'_>) {
    for table in TABLES {
        let mut names = HashSet::new();
        for at in metrics.range(table).skip(1) {
            let row = &metrics.rows[at];
            if row.hash != 0 {
                let name = row.label.name();
                assert_eq!(metrics.known(table, name), Some(at), "{name:?}");
                assert!(names.insert(name), "two rows {name:?}");
            }
        }
    }
}

#[test]
fn a_death_leaves_each_sum_between_before_and_after_and_each_row_to_be_found() {
    let mut zone = bytes(16);
    MetricsZone::format(bytemuck::cast_slice_mut(&mut zone))
        .unwrap()
        .add(&record("app", "k", "m", 1));
    let before = sums(&open(&mut zone));
    let mut stages = stages(&zone, |metrics| metrics.add(&other(DAY)));
    let after = sums(&open(stages.last_mut().unwrap()));
    let most = after.len() - 1;
    let mut partial = 0;
    let deaths = each_death(&stages, |metrics| {
        metrics.recover();
        let now = sums(metrics);
        let bounds = before.iter().zip(&after).zip(&now);
        assert!(bounds.clone().all(|((b, a), now)| (b..=a).contains(&now)));
        partial += usize::from(now != before && now != after);
        assert_all_are_found(metrics);
        // The rows whose naming was interrupted are given to other names, and are empty.
        metrics.introduce_service("new");
        metrics.introduce_key("new", "new");
        metrics.add(&other(DAY));
        metrics.add(&record("app", "k", "m3", 5));
        assert_all_are_found(metrics);
        let at = metrics.known(MetricsTable::Services, "new").unwrap();
        assert_eq!(metrics.rows[at].counters, Counters::default());
        for (table, name) in [
            (MetricsTable::Services, "job"),
            (MetricsTable::Models, "m2"),
            (MetricsTable::Pools, "spare"),
            (MetricsTable::Keys, "spare/k2"),
        ] {
            assert!(metrics.known(table, name).is_some(), "{name}");
        }
    });
    // A label, a hash and what is counted, in four tables.
    assert!(stages.len() > 9 && deaths > 100, "{deaths}");
    assert!(partial > 50, "{partial} of {most}");
}

#[test]
fn a_table_has_room_for_as_many_names_after_a_death() {
    let fill = |metrics: &mut MetricsZone<'_>| {
        for n in 0..300 {
            metrics.claim(MetricsTable::Models, &format!("model-{n}"));
        }
        metrics.count_names(MetricsTable::Models)
    };
    let mut zone = bytes(16);
    MetricsZone::format(bytemuck::cast_slice_mut(&mut zone)).unwrap();
    let stages = stages(&zone, |metrics| metrics.add(&other(DAY)));
    let room = fill(&mut open(&mut zone));
    let mut most = 0;
    each_death(&stages, |metrics| {
        metrics.recover();
        let used = fill(metrics);
        assert_eq!(used, room);
        most = used.max(most);
    });
    assert!(most > 90, "{most}");
}

#[test]
fn a_death_at_the_end_of_a_day_leaves_the_sums_of_that_day() {
    let mut zone = bytes(16);
    MetricsZone::format(bytemuck::cast_slice_mut(&mut zone))
        .unwrap()
        .add(&record("app", "k", "m", 1));
    let of_the_day = |metrics: &MetricsZone<'_>, day: Day| {
        let rows = metrics.rows_by_day(day).filter(|(on, ..)| *on == day);
        let mut rows: Vec<_> = rows.map(|(_, name, sum)| (name, sum)).collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows
    };
    let today = Day::from_number(DAY);
    let before = of_the_day(&open(&mut zone), today);
    let stages = stages(&zone, |metrics| metrics.add(&other(DAY + 1)));
    let deaths = each_death(&stages, |metrics| {
        metrics.recover();
        assert_eq!(of_the_day(metrics, today), before);
        metrics.add(&other(DAY + 1));
        assert_eq!(of_the_day(metrics, today), before);
        let (used, _) = metrics.used_by("job", Day::from_number(DAY + 1));
        assert!((1..=2).contains(&used.requests), "{used:?}");
        let (used, month) = metrics.used_by("app", Day::from_number(DAY + 1));
        assert_eq!((used.requests, month.requests), (0, 1));
        assert_all_are_found(metrics);
    });
    assert!(deaths > 150, "{deaths}");
}
