//! Strings: found by `memchr`, with escapes validated and text passed to a sink.

use memchr::memchr2;

/// Receives the text of a string.
pub(super) trait Sink {
    /// Unescaped bytes.
    fn raw(&mut self, bytes: &[u8]);
    /// A UTF-16 unit from `\uXXXX`.
    fn unit(&mut self, unit: u16);
}

/// Discards the text.
pub(super) struct Skip;

impl Sink for Skip {
    fn raw(&mut self, _bytes: &[u8]) {}
    fn unit(&mut self, _unit: u16) {}
}

/// Position within a string at the end of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StringPart {
    /// Between plain characters.
    Chars,
    /// After a backslash.
    Escape,
    /// In `\uXXXX`, with the number of remaining digits.
    Hex { left: u8, unit: u16 },
}

/// Result of a scan.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The string ended; the index is after its closing quote.
    Closed(usize),
    /// The piece ended within the string.
    Split(StringPart),
    /// The byte at this index is invalid.
    Bad(usize),
}

/// The index of the first quote or backslash.
pub(super) fn stop(text: &[u8]) -> Option<usize> {
    // Most strings are short. Comparing words in registers costs less than the set-up of a
    // search.
    let (words, _) = text.as_chunks::<8>();
    for (at, &word) in words.iter().take(WORDS).enumerate() {
        let word = u64::from_le_bytes(word);
        let found = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let done = words.len().min(WORDS) * 8;
    memchr2(b'"', b'\\', &text[done..]).map(|at| done + at)
}

/// Number of words that are compared before a search.
const WORDS: usize = 2;
const ONES: u64 = u64::MAX / 255;

/// The lowest bit that is set is the highest bit of the first byte that is zero.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

/// Scans `piece` from `at`, which is inside a string in the state `part`.
pub(super) fn scan(
    piece: &[u8],
    mut at: usize,
    mut part: StringPart,
    sink: &mut impl Sink,
) -> Scanned {
    loop {
        match part {
            StringPart::Chars => {
                let rest = &piece[at..];
                if let [b'\\', ..] = rest {
                    // Escapes often follow each other: check before searching again.
                    at += 1;
                    part = StringPart::Escape;
                    continue;
                }
                let Some(stop) = memchr2(b'"', b'\\', rest) else {
                    sink.raw(rest);
                    return Scanned::Split(StringPart::Chars);
                };
                sink.raw(&rest[..stop]);
                at += stop + 1;
                if rest[stop] == b'"' {
                    return Scanned::Closed(at);
                }
                part = StringPart::Escape;
            }
            StringPart::Escape => {
                let Some(&byte) = piece.get(at) else {
                    return Scanned::Split(part);
                };
                part = StringPart::Chars;
                match byte {
                    b'"' | b'\\' | b'/' => sink.raw(&[byte]),
                    b'n' => sink.raw(b"\n"),
                    b't' => sink.raw(b"\t"),
                    b'r' => sink.raw(b"\r"),
                    b'b' => sink.raw(b"\x08"),
                    b'f' => sink.raw(b"\x0C"),
                    b'u' => match whole_unit(&piece[at + 1..]) {
                        Some(unit) => {
                            sink.unit(unit);
                            at += 4;
                        }
                        None => part = StringPart::Hex { left: 4, unit: 0 },
                    },
                    _ => return Scanned::Bad(at),
                }
                at += 1;
            }
            StringPart::Hex { left: 0, unit } => {
                sink.unit(unit);
                part = StringPart::Chars;
            }
            StringPart::Hex { left, unit } => {
                let Some(&byte) = piece.get(at) else {
                    return Scanned::Split(part);
                };
                let Some(digit) = hex(byte) else {
                    return Scanned::Bad(at);
                };
                at += 1;
                part = StringPart::Hex {
                    left: left - 1,
                    unit: unit << 4 | digit,
                };
            }
        }
    }
}

/// The unit of `\uXXXX`, when all four digits are available.
fn whole_unit(digits: &[u8]) -> Option<u16> {
    let digits = digits.first_chunk::<4>()?;
    digits
        .iter()
        .try_fold(0, |unit, &byte| Some(unit << 4 | hex(byte)?))
}

const fn hex(byte: u8) -> Option<u16> {
    match byte {
        b'0'..=b'9' => Some((byte - b'0') as u16),
        b'a'..=b'f' => Some((byte - b'a') as u16 + 10),
        b'A'..=b'F' => Some((byte - b'A') as u16 + 10),
        _ => None,
    }
}
