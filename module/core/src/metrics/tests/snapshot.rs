use proptest::prelude::*;

use super::super::*;
use super::daily::raise_others;
use super::{bytes, record, text};

const DAY: u64 = 20_000;

fn day(number: u64) -> Day {
    Day::from_number(number)
}

fn add(metrics: &mut MetricsZone<'_>, on: u64, service: &str, tokens: u64) {
    let mut record = record(service, "k", "m", tokens);
    record.day = day(on);
    metrics.add(&record);
}

fn saved(metrics: &MetricsZone<'_>) -> Snapshot {
    metrics.used_rows().into()
}

/// All stats of a zone on a day.
fn all(
    metrics: &mut MetricsZone<'_>,
    on: u64,
) -> (String, Vec<StatsSums>, [(QuotaUsage, QuotaUsage); 2]) {
    let figures = (on - 70..=on).map(|since| metrics.stats(day(on), Some(day(since)), None));
    let figures = figures.collect();
    let used = ["app", "job"].map(|name| metrics.used_by(name, day(on)));
    (text(metrics), figures, used)
}

#[test]
fn what_is_read_is_what_was_written() {
    let (mut first, mut second) = (bytes(16), bytes(200));
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut first)).expect("a zone");
    for on in [DAY - 3, DAY - 2, DAY, DAY + 1] {
        add(&mut metrics, on, "app", on);
        add(&mut metrics, on, "job", 1);
        add(&mut metrics, on, &"long".repeat(99), 1);
    }
    let others = Counters {
        prompt: 7,
        ..Counters::default()
    };
    for of in [DAY, DAY + 1] {
        raise_others(&mut metrics, DAY + 1, of, "app", others);
    }
    let owner = SnapshotOwner {
        instance: u64::MAX,
        pid: 7,
        ..SnapshotOwner::default()
    };
    let file = saved(&metrics).to_bytes(&owner);
    let (owner, read) = Snapshot::parse(&file).expect("a file");
    assert_eq!((owner.instance, owner.pid), (u64::MAX, 7));
    // Into a zone of another size.
    let mut other = MetricsZone::format(bytemuck::cast_slice_mut(&mut second)).expect("a zone");
    other.merge(&read, day(DAY + 1));
    assert_eq!(all(&mut other, DAY + 1), all(&mut metrics, DAY + 1));
    assert_eq!(saved(&other), saved(&metrics));
    // Later, on a day of the next month.
    let mut third = bytes(16);
    let mut later = MetricsZone::format(bytemuck::cast_slice_mut(&mut third)).expect("a zone");
    later.merge(&read, day(DAY + 30));
    assert_eq!(all(&mut later, DAY + 30), all(&mut metrics, DAY + 30));
}

#[test]
fn what_is_left_over_is_added_once_wherever_it_was_counted() {
    let (mut first, mut second, mut third) = (bytes(16), bytes(16), bytes(16));
    let mut old = MetricsZone::format(bytemuck::cast_slice_mut(&mut first)).expect("a zone");
    let mut new = MetricsZone::format(bytemuck::cast_slice_mut(&mut second)).expect("a zone");
    let mut one = MetricsZone::format(bytemuck::cast_slice_mut(&mut third)).expect("a zone");
    for on in [DAY - 1, DAY] {
        add(&mut old, on, "app", 10);
        add(&mut one, on, "app", 10);
    }
    let base = saved(&old);
    new.merge(&base, day(DAY));
    // Both continue, over midnight.
    for on in [DAY, DAY + 1] {
        add(&mut old, on, "app", 100);
        add(&mut new, on, "job", 100);
        add(&mut new, on, "app", 100);
        for service in ["app", "job", "app"] {
            add(&mut one, on, service, 100);
        }
    }
    new.merge(&saved(&old).since(&base), day(DAY + 1));
    assert_eq!(all(&mut new, DAY + 1), all(&mut one, DAY + 1));
}

#[test]
fn another_file_is_refused() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    add(&mut metrics, DAY, "app", 10);
    let file = saved(&metrics).to_bytes(&SnapshotOwner::default());
    let text = String::from_utf8(file.clone()).expect("text");
    let refused = |text: &str| Snapshot::parse(text.as_bytes()).map(drop);
    for foreign in [
        "",
        "\n",
        "{}",
        "[]\n{}",
        "worker_processes 1;\n",
        "\u{0}\u{1}",
    ] {
        assert_eq!(refused(foreign), Err(SnapshotError::Foreign), "{foreign:?}");
    }
    let newer = text.replacen("\"openai_stats\":1", "\"openai_stats\":2", 1);
    assert_eq!(refused(&newer), Err(SnapshotError::Newer));
    let changed = text.replacen("\"prompt\":3", "\"prompt\":4", 1);
    assert_ne!(changed, text);
    assert_eq!(refused(&changed), Err(SnapshotError::Damaged));
    for length in [
        text.len() - 2,
        text.len() / 2,
        text.find('\n').expect("a line"),
    ] {
        assert_eq!(refused(&text[..length]), Err(SnapshotError::Damaged));
    }
}

proptest! {
    #[test]
    fn no_damage_goes_unseen_or_upsets(at in 0..4_000usize, byte in any::<u8>()) {
        let mut bytes = bytes(16);
        let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
        add(&mut metrics, DAY, "app", 10);
        let whole = saved(&metrics);
        let mut file = whole.to_bytes(&SnapshotOwner::default());
        let at = at % file.len();
        file[at] = byte;
        if let Ok((_, read)) = Snapshot::parse(&file) {
            prop_assert_eq!(read, whole);
        }
    }
}
