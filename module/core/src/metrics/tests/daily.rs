use std::collections::BTreeMap;

use openai_wire::Tokens;
use proptest::prelude::*;

use super::super::*;
use super::{bytes, record};

const DAY: u64 = 20_000;

fn day(number: u64) -> Day {
    Day::from_number(number)
}

/// Adds a request of a service with that many tokens on a day.
fn add(metrics: &mut MetricsZone<'_>, on: u64, service: &str, tokens: u64) {
    let mut record = record(service, "k", "m", tokens - 3);
    record.day = day(on);
    metrics.add(&record);
}

/// Tokens of the services by day.
fn tokens(metrics: &MetricsZone<'_>) -> BTreeMap<(u32, String), u64> {
    let mut all = BTreeMap::new();
    for (day, row, sum) in metrics.rows_by_day(Day::default()) {
        if let Some(service) = row.strip_prefix("s:") {
            *all.entry((day.number(), service.to_owned())).or_default() +=
                sum.prompt + sum.completion;
        }
    }
    all
}

fn used(metrics: &mut MetricsZone<'_>, on: u64, service: &str) -> (u64, u64) {
    let (today, month) = metrics.used_by(service, day(on));
    (today.tokens, month.tokens)
}

/// Raises the sum of other machines for a service and a day.
pub(super) fn raise_others(
    metrics: &mut MetricsZone<'_>,
    today: u64,
    of: u64,
    service: &str,
    sum: Counters,
) {
    let row = format!("s:{service}");
    let missed = metrics.raise_others(day(today), [(day(of), &*row, sum)].into_iter());
    assert_eq!(missed, 0);
}

/// Number of sums of other machines since a day.
pub(super) fn others_since(metrics: &MetricsZone<'_>, since: u64) -> usize {
    let sums = metrics.daily.sums();
    sums.filter(|(others, on, ..)| *others && *on >= day(since))
        .count()
}

#[test]
fn days_are_those_of_the_calendar() {
    for (text, number) in [
        ("1970-01-01", 0),
        ("1969-12-31", 0),
        ("2024-02-29", 19_782),
        ("2024-10-04", DAY),
        ("2024-10-04T23:59:59Z", DAY),
        ("2024-10-04T23:59:59.5-00:30", DAY + 1),
        ("2024-10-05T01:00:00+02:00", DAY),
        ("9999-12-31", 2_932_896),
    ] {
        assert_eq!(Day::parse(text), Some(day(number)), "{text}");
    }
    for text in [
        "",
        "today",
        "2024-10",
        "2024-13-01",
        "2023-02-29",
        "2024-10-04T",
        "2024-10-04T25:00:00Z",
        "2024-10-04 ",
        "1759708800",
        "2024-10-0\u{ff14}",
        "+024-10-04",
    ] {
        assert_eq!(Day::parse(text), None, "{text}");
    }
    assert_eq!(day(DAY).to_string(), "2024-10-04");
    assert_eq!(day(DAY).month().to_string(), "2024-10-01");
    assert_eq!(day(u64::MAX).to_string(), "9999-12-31");
    assert_eq!(Day::of(DAY * 86_400_000_000 + 86_399_999_999), day(DAY));
}

#[test]
fn what_is_counted_is_that_days() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    add(&mut metrics, DAY, "app", 10);
    add(&mut metrics, DAY, "job", 20);
    add(&mut metrics, DAY + 1, "app", 100);
    // A worker whose clock is slightly behind.
    add(&mut metrics, DAY, "app", 200);
    add(&mut metrics, DAY + 3, "app", 1_000);
    let all = tokens(&metrics);
    let expected = [
        ((DAY, "app"), 10),
        ((DAY, "job"), 20),
        ((DAY + 1, "app"), 300),
        ((DAY + 3, "app"), 1_000),
    ];
    let expected = expected.map(|((day, name), n)| ((day as u32, name.to_owned()), n));
    assert_eq!(all, BTreeMap::from(expected));
    let services = metrics.rows_by_day(day(DAY + 1));
    assert_eq!(
        services.filter(|(_, row, _)| row.starts_with("s:")).count(),
        2
    );
    assert_eq!(used(&mut metrics, DAY + 3, "app"), (1_000, 1_310));
    assert_eq!(used(&mut metrics, DAY + 3, "job"), (0, 20));
    assert_eq!(used(&mut metrics, DAY + 3, "nobody"), (0, 0));
    // Nothing has been counted since midnight.
    assert_eq!(used(&mut metrics, DAY + 4, "app"), (0, 1_310));
    // 2024-11-01
    assert_eq!(used(&mut metrics, DAY + 28, "app"), (0, 0));
    add(&mut metrics, DAY + 28, "app", 5);
    assert_eq!(used(&mut metrics, DAY + 28, "app"), (5, 5));
}

#[test]
fn a_clock_that_was_wrong_is_made_good() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    add(&mut metrics, DAY, "app", 10);
    add(&mut metrics, DAY + 9_000, "app", 20);
    add(&mut metrics, DAY + 1, "app", 40);
    assert_eq!(used(&mut metrics, DAY + 1, "app"), (40, 50));
    assert_eq!(tokens(&metrics).values().sum::<u64>(), 70);
}

#[test]
fn other_machines_are_raised_and_not_added() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let sum = |prompt| Counters {
        prompt,
        ..Counters::default()
    };
    add(&mut metrics, DAY, "app", 10);
    for prompt in [5, 7, 7] {
        raise_others(&mut metrics, DAY, DAY, "app", sum(prompt));
    }
    assert_eq!(used(&mut metrics, DAY, "app"), (17, 17));
    raise_others(&mut metrics, DAY, DAY - 1, "app", sum(100));
    raise_others(&mut metrics, DAY, DAY - 10, "app", sum(1_000));
    assert_eq!(used(&mut metrics, DAY, "app"), (17, 117));
    // The other machine's day begins earlier.
    raise_others(&mut metrics, DAY, DAY + 1, "app", sum(3));
    assert_eq!(used(&mut metrics, DAY, "app"), (17, 117));
    assert_eq!(used(&mut metrics, DAY + 1, "app"), (3, 120));
    raise_others(&mut metrics, DAY + 1, DAY, "elsewhere", sum(9));
    assert_eq!(used(&mut metrics, DAY + 1, "elsewhere"), (0, 9));
    assert_eq!(others_since(&metrics, DAY), 3);
    // They are not counted as this machine's.
    assert_eq!(tokens(&metrics).len(), 1);
    for of in [DAY + 3, DAY - 99] {
        raise_others(&mut metrics, DAY + 1, of, "app", sum(1));
    }
    assert_eq!(others_since(&metrics, 0), 5);
}

#[test]
fn the_oldest_days_go_and_the_others_stay_whole() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    for on in DAY..DAY + 100 {
        for service in 0..120 {
            add(&mut metrics, on, &format!("s{service}"), 10);
        }
    }
    let all = tokens(&metrics);
    let first = all.keys().next().expect("a day").0;
    let kept = (DAY + 100) as u32 - first;
    assert!((3..KEPT_DAYS).contains(&kept), "{kept} days");
    assert_eq!(all.len() as u32, kept * 120);
    assert!(all.values().all(|&tokens| tokens == 10));
    // The sum of the month is known although its days have been removed.
    assert_eq!(used(&mut metrics, DAY + 99, "s7").1, 110);
}

#[test]
fn many_keys_do_not_remove_the_month_of_services() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let models = metrics.daily.tags.len() / 20;
    let last = DAY + 25;
    assert_eq!(day(DAY - 3), day(last).month(), "the days are of one month");
    let one = Counters {
        prompt: 10,
        ..Counters::default()
    };
    let count_others = |metrics: &mut MetricsZone<'_>, today: u64, on: u64| {
        let rest = (0..models).map(|n| format!("m:model{n}"));
        let names: Vec<_> = ["s:app".into()].into_iter().chain(rest).collect();
        let rows = names.iter().map(|name| (day(on), &**name, one));
        metrics.raise_others(day(today), rows)
    };
    for on in DAY..last {
        add(&mut metrics, on, "app", 10);
        count_others(&mut metrics, on, on);
    }
    let check = |metrics: &mut MetricsZone<'_>, others: u64| {
        assert_eq!(used(metrics, last - 1, "app").1, 25 * 10 + others * 10);
        let since = metrics.stats(day(last - 1), None, None).since;
        let mut rest = BTreeMap::new();
        for (others, on, at, _) in metrics.daily.sums() {
            if others && at >= metrics.daily.months.len() {
                *rest.entry(on).or_insert(0) += 1;
            }
        }
        assert!(
            rest.values().all(|&count| count == models.min(95)),
            "{rest:?}"
        );
        assert_eq!(rest.keys().next(), Some(&since), "days are whole");
        since
    };
    let since = check(&mut metrics, 25);
    assert!(since > day(DAY + 2), "the first days of models are gone");
    // After a reload, the nodes tell of all days again, the newest first.
    for on in (DAY - 40..last).rev() {
        count_others(&mut metrics, last - 1, on);
    }
    assert_eq!(check(&mut metrics, 25 + 3), since);
}

#[test]
fn more_than_a_month_is_kept_of_what_is_few() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    for on in DAY..DAY + 100 {
        add(&mut metrics, on, "app", 10);
    }
    let days: Vec<_> = tokens(&metrics).into_keys().map(|(day, _)| day).collect();
    let expected: Vec<_> = ((DAY as u32 + 99 - KEPT_DAYS)..DAY as u32 + 100).collect();
    assert_eq!(days, expected);
}

#[test]
fn who_dies_while_a_day_is_closed_leaves_nothing_half_done() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    add(&mut metrics, DAY, "app", 10);
    add(&mut metrics, DAY, "job", 20);
    let before = tokens(&metrics);
    // The process died before the point of no return: the day continues.
    metrics.daily.close(metrics.rows, day(DAY + 1));
    metrics.recover();
    assert_eq!(tokens(&metrics), before);
    // The process died after it.
    metrics.daily.close(metrics.rows, day(DAY + 1));
    metrics.daily.decide(day(DAY + 1));
    metrics.recover();
    assert_eq!(tokens(&metrics), before);
    add(&mut metrics, DAY + 1, "app", 5);
    assert_eq!(used(&mut metrics, DAY + 1, "app"), (5, 15));
    assert_eq!(used(&mut metrics, DAY + 1, "job"), (0, 20));
}

#[test]
fn who_dies_while_a_month_begins_leaves_it_empty() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let month = day(DAY).month();
    let next = (DAY..).find(|&at| day(at).month() != month).unwrap();
    add(&mut metrics, next - 1, "app", 10);
    metrics.daily.close(metrics.rows, day(next));
    metrics.daily.decide(day(next));
    // The process died before it noted that the month had begun.
    metrics.daily.add_up(metrics.rows, next, true);
    metrics.recover();
    add(&mut metrics, next, "app", 5);
    assert_eq!(used(&mut metrics, next, "app"), (5, 5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn days_come_to_what_was_counted_on_them(
        steps in prop::collection::vec((0..3u64, 0..5u32, 3..1_000u64, any::<bool>()), 1..200)
    ) {
        let mut bytes = bytes(16);
        let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
        let (mut on, mut expected) = (DAY, BTreeMap::<(u32, String), u64>::new());
        for (later, service, count, dies) in steps {
            on += later / 2;
            let name = format!("s{service}");
            add(&mut metrics, on, &name, count);
            *expected.entry((on as u32, name)).or_default() += count;
            if dies {
                metrics.daily.close(metrics.rows, day(on));
                metrics.recover();
            }
        }
        let oldest = (on as u32).saturating_sub(KEPT_DAYS);
        expected.retain(|&(day, _), _| day >= oldest);
        prop_assert_eq!(tokens(&metrics), expected.clone());
        let month = day(on).month().number();
        for service in 0..5 {
            let name = format!("s{service}");
            let of = |from: u32| expected.iter()
                .filter(|((day, whose), _)| *day >= from && *whose == name)
                .map(|(_, tokens)| tokens).sum::<u64>();
            prop_assert_eq!(used(&mut metrics, on, &name), (of(on as u32), of(month)));
        }
    }
}

#[test]
fn figures_since_a_day_are_the_same_whichever_way() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    for on in DAY..DAY + 5 {
        for n in 0..30 {
            let names = (
                format!("s{}", n % 3),
                format!("k{}", n % 5),
                format!("m{}", n % 2),
            );
            let mut record = record(&names.0, &names.1, &names.2, n);
            record.day = day(on);
            metrics.add(&record);
        }
    }
    let today = day(DAY + 4);
    for (since, days) in [(0, 5), (DAY, 5), (DAY + 3, 2), (DAY + 4, 1), (DAY + 5, 0)] {
        let figures = metrics.stats(today, Some(day(since)), None);
        assert_eq!(figures.since, day(since.max(DAY)));
        let sum = |lines: &[StatsRow]| {
            let add = |sum: Counters, line: &StatsRow| sum.plus(&line.here);
            lines.iter().fold(Counters::default(), add)
        };
        let total = sum(&figures.services);
        assert_eq!(total.requests.iter().sum::<u64>(), 30 * days);
        assert_eq!(total.completion, 435 * days);
        for lines in [&figures.models, &figures.pools, &figures.keys] {
            assert_eq!(sum(lines), total, "since {since}");
        }
    }
    let one = metrics.stats(today, None, Some("s1"));
    assert_eq!((one.services.len(), one.keys.len()), (1, 0));
    assert_eq!(one.services[0].here.requests.iter().sum::<u64>(), 50);
    assert_eq!(metrics.stats(today, None, Some("nobody")).services, []);
}

#[test]
fn a_bound_is_passed_when_as_much_is_used_and_told_once() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let words = [
        "app",
        "tokens=100/day",
        "tokens=150/month",
        "requests=10/month",
    ];
    let quota = crate::clients::QuotaDirective::parse(&words)
        .expect("a quota")
        .quota;
    let passed = |metrics: &mut MetricsZone<'_>, on: u64| {
        let passed = metrics.passed("app", &quota, day(on))?;
        Some((passed.limit.period(), passed.used, passed.is_first))
    };
    assert_eq!(passed(&mut metrics, DAY), None);
    add(&mut metrics, DAY, "app", 99);
    add(&mut metrics, DAY, "job", 999);
    assert_eq!(passed(&mut metrics, DAY), None);
    add(&mut metrics, DAY, "app", 3);
    assert_eq!(passed(&mut metrics, DAY), Some(("day", 102, true)));
    assert_eq!(passed(&mut metrics, DAY), Some(("day", 102, false)));
    assert_eq!(passed(&mut metrics, DAY + 1), None);
    add(&mut metrics, DAY + 1, "app", 48);
    assert_eq!(passed(&mut metrics, DAY + 1), Some(("month", 150, true)));
    assert_eq!(passed(&mut metrics, DAY + 2), Some(("month", 150, false)));
    // November.
    assert_eq!(passed(&mut metrics, DAY + 28), None);
    // Requests without a key do not count.
    for _ in 0..20 {
        let mut refused = record("app", "", "m", 0);
        refused.day = day(DAY + 28);
        if let Some(request) = &mut refused.request {
            (request.outcome, request.tokens) = (Outcome::Refused, Tokens::default());
        }
        metrics.add(&refused);
    }
    assert_eq!(passed(&mut metrics, DAY + 28), None);
    for _ in 0..10 {
        add(&mut metrics, DAY + 28, "app", 3);
    }
    assert_eq!(passed(&mut metrics, DAY + 28), Some(("month", 10, true)));
}
