//! Parser of node answers: RESP 2 and 3, as far as nodes use them.

use thiserror::Error;

use super::value::{ErrorKind, Value};

/// Maximum length of a string, in bytes; an incomplete message may have twice as many. The answer
/// to `INFO` has some thousands of bytes, more with many clients.
const MOST_BYTES: usize = 256 << 10;
/// Maximum number of items in a list. The answer to a renewal has some hundreds.
const MOST_ITEMS: usize = 4 << 10;
/// Maximum nesting of lists.
const DEEPEST: usize = 8;

/// A message from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The reply to the next pending command.
    Reply(Value),
    /// A message on a channel, or the confirmation of a subscription.
    Push(Vec<Value>),
}

/// Invalid data, or too much of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a reply of a Redis server")]
pub struct Garbage;

/// Parses the first message and returns it with its length in bytes; `None` while it is incomplete.
pub fn read(bytes: &[u8]) -> Result<Option<(Sent, usize)>, Garbage> {
    let mut reader = Reader { bytes, at: 0 };
    let read = match bytes.first() {
        Some(b'>') => reader.list(0).map(Sent::Push),
        _ => reader.value(0).map(Sent::Reply),
    };
    match read {
        Ok(sent) => Ok(Some((sent, reader.at))),
        Err(Stop::Incomplete) if bytes.len() <= 2 * MOST_BYTES => Ok(None),
        Err(_) => Err(Garbage),
    }
}

enum Stop {
    Incomplete,
    Garbage,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        match kind {
            b'*' | b'%' | b'~' => {
                if self.bytes[self.at + 1..].starts_with(b"-1\r\n") {
                    self.line()?;
                    return Ok(Value::Nil);
                }
                return self.list(depth).map(Value::Array);
            }
            b'$' | b'=' | b'!' => return self.bulk(kind),
            _ => {}
        }
        let line = self.line()?;
        match kind {
            b':' => parse(line).map(Value::Int),
            b'+' if line == b"OK" => Ok(Value::Okay),
            b'+' | b',' | b'#' | b'(' => Ok(Value::Bytes(line.to_vec())),
            b'-' => Ok(Value::Error(kind_of(line))),
            b'_' => Ok(Value::Nil),
            _ => Err(Stop::Garbage),
        }
    }

    fn bulk(&mut self, kind: u8) -> Result<Value, Stop> {
        let length = parse(self.line()?)?;
        if length == -1 {
            return Ok(Value::Nil);
        }
        let length = sized(length, MOST_BYTES)?;
        let rest = &self.bytes[self.at..];
        if rest.len() < length + 2 {
            return Err(Stop::Incomplete);
        }
        let (text, end) = rest.split_at(length);
        if !end.starts_with(b"\r\n") {
            return Err(Stop::Garbage);
        }
        self.at += length + 2;
        Ok(match kind {
            b'!' => Value::Error(kind_of(text)),
            // The text begins with its format, three letters and a colon.
            b'=' => Value::Bytes(text.get(4..).unwrap_or_default().to_vec()),
            _ => Value::Bytes(text.to_vec()),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, Stop> {
        let pairs = self.bytes.get(self.at) == Some(&b'%');
        let count = sized(parse(self.line()?)?, MOST_ITEMS)?;
        if depth >= DEEPEST {
            return Err(Stop::Garbage);
        }
        let count = if pairs { 2 * count } else { count };
        // An item has at least three bytes, so the capacity cannot exceed the input.
        let mut items = Vec::with_capacity(count.min((self.bytes.len() - self.at) / 3 + 1));
        for _ in 0..count {
            items.push(self.value(depth + 1)?);
        }
        Ok(items)
    }

    /// The rest of the line, after the type byte.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Err(Stop::Incomplete);
        };
        self.at += end + 1;
        match rest.get(1..end) {
            Some([line @ .., b'\r']) => Ok(line),
            _ => Err(Stop::Garbage),
        }
    }
}

/// Parses an integer. Most replies consist of them, and [`str::parse`] would need a check for
/// UTF-8 first.
fn parse(line: &[u8]) -> Result<i64, Stop> {
    let (is_negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let add = |sum: i64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        // Negative, because the lowest integer has no positive counterpart.
        sum.checked_mul(10)?.checked_sub(digit)
    };
    let sum = (!digits.is_empty()).then(|| digits.iter().try_fold(0, add));
    let value = match is_negative {
        true => sum.flatten(),
        false => sum.flatten().and_then(i64::checked_neg),
    };
    value.ok_or(Stop::Garbage)
}

fn sized(length: i64, most: usize) -> Result<usize, Stop> {
    match usize::try_from(length) {
        Ok(length) if length <= most => Ok(length),
        _ => Err(Stop::Garbage),
    }
}

fn kind_of(message: &[u8]) -> ErrorKind {
    ErrorKind::classify(&String::from_utf8_lossy(message))
}
