//! Strings: found by `memchr`, with escapes validated and text passed to a sink.

use memchr::memchr2;

/// Receives the text of a string.
pub(crate) trait Sink {
    /// Unescaped bytes.
    fn raw(&mut self, bytes: &[u8]);
    /// A UTF-16 unit from `\uXXXX`.
    fn unit(&mut self, unit: u16);
}

/// Discards the text.
pub(crate) struct Skip;

impl Sink for Skip {
    fn raw(&mut self, _bytes: &[u8]) {}
    fn unit(&mut self, _unit: u16) {}
}

/// Position within a string at the end of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Between plain characters.
    Chars,
    /// After a backslash.
    Escape,
    /// In `\uXXXX`, with the number of remaining digits.
    Hex { left: u8, unit: u16 },
}

/// Result of a scan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// The string ended; the index is after its closing quote.
    Closed(usize),
    /// The piece ended within the string.
    Split(Part),
    /// The byte at this index is invalid.
    Bad(usize),
}

/// Scans `piece` from `at`, which is inside a string in the state `part`.
pub(crate) fn scan(piece: &[u8], mut at: usize, mut part: Part, sink: &mut impl Sink) -> Scanned {
    loop {
        match part {
            Part::Chars => {
                let rest = &piece[at..];
                if let [b'\\', ..] = rest {
                    // Escapes often follow each other: check before searching again.
                    at += 1;
                    part = Part::Escape;
                    continue;
                }
                let Some(stop) = memchr2(b'"', b'\\', rest) else {
                    sink.raw(rest);
                    return Scanned::Split(Part::Chars);
                };
                sink.raw(&rest[..stop]);
                at += stop + 1;
                if rest[stop] == b'"' {
                    return Scanned::Closed(at);
                }
                part = Part::Escape;
            }
            Part::Escape => {
                let Some(&byte) = piece.get(at) else {
                    return Scanned::Split(part);
                };
                part = Part::Chars;
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
                        None => part = Part::Hex { left: 4, unit: 0 },
                    },
                    _ => return Scanned::Bad(at),
                }
                at += 1;
            }
            Part::Hex { left: 0, unit } => {
                sink.unit(unit);
                part = Part::Chars;
            }
            Part::Hex { left, unit } => {
                let Some(&byte) = piece.get(at) else {
                    return Scanned::Split(part);
                };
                let Some(digit) = hex(byte) else {
                    return Scanned::Bad(at);
                };
                at += 1;
                part = Part::Hex {
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
