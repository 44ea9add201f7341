//! Invariants of the readers of responses for arbitrary bytes: the result does not depend on
//! where the input is cut.
//!
//! Shared by the fuzz target and by the tests.

use openai_wire::restore::{Form, Part, Restorer};
use openai_wire::usage::{SeenText, Tokens, UsageScanner, UsageStripper};
use openai_wire::{EventEnd, Limits, verdict};

const NAME: &[u8] = br#""fa\"st""#;

/// A line longer than this is not held back.
const LONG: usize = 16 * 1024;

/// Checks all readers.
///
/// # Panics
/// When one contradicts itself.
pub(crate) fn check(answer: &[u8]) {
    let seed = answer.iter().fold(7_usize, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let cuts = [
        (0..answer.len()).collect(),
        (0..answer.len()).step_by(seed % 13 + 2).collect(),
        vec![seed % (answer.len() + 1)],
    ];
    for cuts in cuts {
        same(answer, &cuts);
    }
    let _ = verdict(429, answer);
    let mut limits = Limits::default();
    for line in answer.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        limits.header(name, value.strip_prefix(b":").unwrap_or(value), 1_000);
    }
    let _ = limits.wait_ms();
}

/// Checks that a response in pieces that end at `cuts`, in ascending order, gives the same result
/// as in one piece.
fn same(answer: &[u8], cuts: &[usize]) {
    for stream in [false, true] {
        assert_eq!(usage(stream, answer, cuts), usage(stream, answer, &[]));
    }
    for form in [Form::Json, Form::Events] {
        assert_eq!(restored(form, answer, cuts), restored(form, answer, &[]));
    }
    if !answer
        .split(|byte| *byte == b'\n')
        .any(|line| line.len() > LONG)
    {
        let left = stripped(answer, cuts);
        assert_eq!(left, stripped(answer, &[]));
        assert!(left.len() <= answer.len(), "nothing is added");
    }
    let end = |cuts| pieces(answer, cuts).fold(EventEnd::default(), EventEnd::after);
    assert_eq!(end(cuts).is_between(), end(&[]).is_between());
}

fn pieces<'a>(answer: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut done = 0;
    let ends = cuts.iter().copied().chain([answer.len()]);
    ends.map(move |end| &answer[std::mem::replace(&mut done, end)..end])
}

fn usage(stream: bool, answer: &[u8], cuts: &[usize]) -> ([Option<Tokens>; 2], SeenText, bool) {
    let mut scanner = UsageScanner::new(stream);
    pieces(answer, cuts).for_each(|piece| scanner.feed(piece));
    let found = [true, false].map(|whole| scanner.finish(whole));
    (found, scanner.content(), scanner.is_implausible())
}

fn restored(form: Form, answer: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut restorer = Restorer::new(form);
    let mut out = Vec::new();
    for piece in pieces(answer, cuts) {
        restorer.feed(piece, &mut |part| match part {
            Part::Keep(range) => out.extend_from_slice(&piece[range]),
            Part::Name => out.extend_from_slice(NAME),
        });
    }
    out
}

fn stripped(answer: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stripper = UsageStripper::default();
    let mut out = Vec::new();
    for piece in pieces(answer, cuts) {
        let mut piece = piece.to_vec();
        let left = stripper.feed(&mut piece);
        out.extend_from_slice(&left.before);
        out.extend_from_slice(&piece[..left.kept]);
    }
    out.extend(stripper.finish());
    out
}
