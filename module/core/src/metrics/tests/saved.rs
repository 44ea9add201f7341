use proptest::prelude::*;

use super::super::*;
use super::{bytes, record, text};

const DAY: u64 = 20_000;

fn day(number: u64) -> Day {
    Day::from_number(number)
}

fn add(board: &mut Board<'_>, on: u64, service: &str, tokens: u64) {
    let mut record = record(service, "k", "m", tokens);
    record.day = day(on);
    board.add(&record);
}

fn saved(board: &Board<'_>) -> Saved {
    board.extract().into()
}

/// All that can be asked of a board on a day.
fn all(board: &mut Board<'_>, on: u64) -> (String, Vec<Figures>, [(Use, Use); 2]) {
    let figures = (on - 70..=on).map(|since| board.figures(day(on), Some(day(since)), None));
    let figures = figures.collect();
    let used = ["app", "job"].map(|name| board.used_by(name, day(on)));
    (text(board), figures, used)
}

#[test]
fn what_is_read_is_what_was_written() {
    let (mut first, mut second) = (bytes(16), bytes(200));
    let mut board = Board::format(bytemuck::cast_slice_mut(&mut first)).expect("a board");
    for on in [DAY - 3, DAY - 2, DAY, DAY + 1] {
        add(&mut board, on, "app", on);
        add(&mut board, on, "job", 1);
        add(&mut board, on, &"long".repeat(99), 1);
    }
    let others = Counters {
        prompt: 7,
        ..Counters::default()
    };
    for of in [DAY, DAY + 1] {
        assert!(board.set_others(day(DAY + 1), day(of), "app", &others));
    }
    let owner = Owner {
        instance: u64::MAX,
        pid: 7,
        ..Owner::default()
    };
    let file = saved(&board).to_bytes(&owner);
    let (told, read) = Saved::parse(&file).expect("a file");
    assert_eq!((told.instance, told.pid), (u64::MAX, 7));
    // Into another size of the zone.
    let mut other = Board::format(bytemuck::cast_slice_mut(&mut second)).expect("a board");
    other.merge(&read, day(DAY + 1));
    assert_eq!(all(&mut other, DAY + 1), all(&mut board, DAY + 1));
    assert_eq!(saved(&other), saved(&board));
    // Later, on a day of the next month.
    let mut third = bytes(16);
    let mut later = Board::format(bytemuck::cast_slice_mut(&mut third)).expect("a board");
    later.merge(&read, day(DAY + 30));
    assert_eq!(all(&mut later, DAY + 30), all(&mut board, DAY + 30));
}

#[test]
fn what_is_left_over_is_added_once_wherever_it_was_counted() {
    let (mut first, mut second, mut third) = (bytes(16), bytes(16), bytes(16));
    let mut old = Board::format(bytemuck::cast_slice_mut(&mut first)).expect("a board");
    let mut new = Board::format(bytemuck::cast_slice_mut(&mut second)).expect("a board");
    let mut one = Board::format(bytemuck::cast_slice_mut(&mut third)).expect("a board");
    for on in [DAY - 1, DAY] {
        add(&mut old, on, "app", 10);
        add(&mut one, on, "app", 10);
    }
    let base = saved(&old);
    new.merge(&base, day(DAY));
    // Both go on, over midnight.
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
    let mut board = Board::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a board");
    add(&mut board, DAY, "app", 10);
    let file = saved(&board).to_bytes(&Owner::default());
    let text = String::from_utf8(file.clone()).expect("text");
    let refused = |text: &str| Saved::parse(text.as_bytes()).map(drop);
    for foreign in [
        "",
        "\n",
        "{}",
        "[]\n{}",
        "worker_processes 1;\n",
        "\u{0}\u{1}",
    ] {
        assert_eq!(refused(foreign), Err(SavedError::Foreign), "{foreign:?}");
    }
    let newer = text.replacen("\"openai_stats\":1", "\"openai_stats\":2", 1);
    assert_eq!(refused(&newer), Err(SavedError::Newer));
    let changed = text.replacen("\"prompt\":3", "\"prompt\":4", 1);
    assert_ne!(changed, text);
    assert_eq!(refused(&changed), Err(SavedError::Damaged));
    for length in [
        text.len() - 2,
        text.len() / 2,
        text.find('\n').expect("a line"),
    ] {
        assert_eq!(refused(&text[..length]), Err(SavedError::Damaged));
    }
}

proptest! {
    #[test]
    fn no_damage_goes_unseen_or_upsets(at in 0..4_000usize, byte in any::<u8>()) {
        let mut bytes = bytes(16);
        let mut board = Board::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a board");
        add(&mut board, DAY, "app", 10);
        let whole = saved(&board);
        let mut file = whole.to_bytes(&Owner::default());
        let at = at % file.len();
        file[at] = byte;
        if let Ok((_, read)) = Saved::parse(&file) {
            prop_assert_eq!(read, whole);
        }
    }
}
