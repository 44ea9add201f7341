//! The tokenizer: a pushdown automaton that can stop after any byte.

use super::capture::Capture;
use super::nesting::Nesting;
use super::number::Number;
use super::string::{self, Scanned, Skip, StringPart};
use super::{JsonFault, JsonKind, Reader};

/// What is expected next, between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The object of the document.
    Document,
    /// A key, or the end of an empty object.
    FirstKey,
    /// A key, after a comma.
    Key,
    /// The colon after a key.
    Colon,
    /// A value.
    Value,
    /// A value, or the end of an empty array.
    FirstItem,
    /// A comma, or a closing bracket.
    Next,
    /// Only whitespace.
    End,
    /// The rest is ignored.
    Nothing,
}

/// A token that continues in the next piece.
#[derive(Debug, Clone, Copy)]
enum Open {
    String {
        wanted: bool,
        part: StringPart,
    },
    Number {
        wanted: bool,
        number: Number,
    },
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

/// Tokenizes a document that comes in pieces. Stores up to `KEPT` bytes of a string.
#[derive(Debug)]
pub(crate) struct Tokenizer<const KEPT: usize> {
    expected: Expected,
    open: Option<Open>,
    nesting: Nesting,
    text: Capture<KEPT>,
    /// The value of the current number, if it is wanted and whole.
    number: Option<u64>,
}

impl<const KEPT: usize> Tokenizer<KEPT> {
    /// A tokenizer at the start of a document, which must be an object.
    pub(crate) const fn new() -> Self {
        Self::expecting(Expected::Document)
    }

    /// A tokenizer before a value, possibly in the middle of a document.
    pub(crate) const fn at_value() -> Self {
        Self::expecting(Expected::Value)
    }

    const fn expecting(expected: Expected) -> Self {
        Self {
            expected,
            open: None,
            nesting: Nesting::new(),
            text: Capture::new(),
            number: None,
        }
    }

    /// Begins a new document.
    pub(crate) fn restart(&mut self) {
        self.expected = Expected::Document;
        self.open = None;
        self.nesting = Nesting::new();
    }

    /// Ignores the rest of the document.
    pub(crate) fn give_up(&mut self) {
        self.expected = Expected::Nothing;
        self.open = None;
    }

    /// Whether the document is complete.
    pub(crate) fn is_complete(&self) -> bool {
        let is_closed = match self.open {
            None => true,
            // The end of the document ends a number.
            Some(Open::Number { number, .. }) => number.is_whole(),
            Some(_) => false,
        };
        self.expected == Expected::End && is_closed
    }

    /// What can follow a string, a number or a literal.
    fn behind_value<R: Reader>(&self) -> Expected {
        match self.nesting.depth() {
            0 if R::STRICT => Expected::End,
            _ => Expected::Next,
        }
    }

    /// Takes the bytes of a piece from `at` on.
    pub(crate) fn feed<R: Reader>(&mut self, piece: &[u8], at: usize, reader: &mut R) {
        if let Err(fault) = self.tokens(piece, at, reader) {
            self.give_up();
            reader.fault(fault);
        }
    }

    fn tokens<R: Reader>(
        &mut self,
        piece: &[u8],
        mut at: usize,
        reader: &mut R,
    ) -> Result<(), JsonFault> {
        match self.expected {
            Expected::Nothing => return Ok(()),
            Expected::Document => {
                let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
                at += piece[at..].iter().take_while(|byte| is_space(byte)).count();
                if piece.get(at).is_some_and(|&byte| byte != b'{') {
                    return Err(JsonFault::Malformed(at));
                }
            }
            _ => {}
        }
        if at < piece.len()
            && let Some(open) = self.open.take()
        {
            at = self.resume(open, piece, at, reader)?;
        }
        while let Some(&byte) = piece.get(at) {
            at = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => at + 1,
                b'"' => self.quote(piece, at, reader)?,
                b':' => self.colon::<R>(at)?,
                b',' => {
                    if R::STRICT && self.expected != Expected::Next {
                        return Err(JsonFault::Malformed(at));
                    }
                    reader.end_member(self.nesting.depth(), at);
                    self.expected = if self.nesting.in_object() {
                        Expected::Key
                    } else {
                        Expected::Value
                    };
                    at + 1
                }
                b'{' | b'[' => self.open(byte == b'{', at, reader)?,
                b'}' | b']' => self.close(byte == b'}', at, reader)?,
                b't' | b'f' | b'n' | b'-' | b'0'..=b'9' if self.expects_value() => match byte {
                    b't' => self.begin_literal(JsonKind::Bool(true), piece, at, reader)?,
                    b'f' => self.begin_literal(JsonKind::Bool(false), piece, at, reader)?,
                    b'n' => self.begin_literal(JsonKind::Null, piece, at, reader)?,
                    _ => self.begin_number(piece, at, reader)?,
                },
                _ if R::STRICT => return Err(JsonFault::Malformed(at)),
                _ => at + 1,
            };
        }
        Ok(())
    }

    /// Whether a value can follow.
    fn expects_value(&self) -> bool {
        use Expected::{Document, FirstItem, Value};
        matches!(self.expected, Value | FirstItem | Document)
    }

    fn quote<R: Reader>(
        &mut self,
        piece: &[u8],
        at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        let depth = self.nesting.depth();
        let key = match self.expected {
            Expected::FirstKey | Expected::Key => true,
            _ if self.expects_value() => false,
            _ if R::STRICT => return Err(JsonFault::Malformed(at)),
            _ => self.nesting.in_object(),
        };
        let wanted = if key {
            self.expected = Expected::Colon;
            reader.wants_key(depth)
        } else {
            self.expected = self.behind_value::<R>();
            reader.value(JsonKind::String, depth, at)
        };
        let from = at + 1;
        let text = &piece[from..];
        let stop = string::stop(text).unwrap_or(text.len());
        let end = from + stop;
        if piece.get(end) == Some(&b'"') {
            if wanted {
                let text = Some(&text[..stop]).filter(|text| text.len() <= KEPT);
                if key {
                    reader.key(text, depth);
                } else {
                    reader.string(text, end + 1);
                }
            }
            return Ok(end + 1);
        }
        self.text.clear();
        let at = if wanted { from } else { end };
        self.string(wanted, StringPart::Chars, piece, at, reader)
    }

    fn colon<R: Reader>(&mut self, at: usize) -> Result<usize, JsonFault> {
        if R::STRICT && self.expected != Expected::Colon {
            return Err(JsonFault::Malformed(at));
        }
        self.expected = Expected::Value;
        Ok(at + 1)
    }

    fn open<R: Reader>(
        &mut self,
        object: bool,
        at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        if R::STRICT && !self.expects_value() {
            return Err(JsonFault::Malformed(at));
        }
        let (kind, expected) = if object {
            (JsonKind::Object, Expected::FirstKey)
        } else {
            (JsonKind::Array, Expected::FirstItem)
        };
        reader.value(kind, self.nesting.depth(), at);
        self.expected = expected;
        if !self.nesting.open(object) && R::STRICT {
            return Err(JsonFault::TooDeep(at));
        }
        Ok(at + 1)
    }

    fn close<R: Reader>(
        &mut self,
        object: bool,
        at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        use Expected::{FirstItem, FirstKey, Next};
        if R::STRICT
            && (!matches!(self.expected, Next | FirstKey | FirstItem)
                || self.nesting.in_object() != object)
        {
            return Err(JsonFault::Malformed(at));
        }
        if self.expected == Next {
            reader.end_member(self.nesting.depth(), at);
        }
        self.nesting.close();
        let depth = self.nesting.depth();
        reader.close(depth);
        self.expected = match depth {
            0 if R::STRICT => Expected::End,
            _ => Next,
        };
        Ok(at + 1)
    }

    fn begin_literal<R: Reader>(
        &mut self,
        kind: JsonKind,
        piece: &[u8],
        at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        reader.value(kind, self.nesting.depth(), at);
        self.expected = self.behind_value::<R>();
        let literal: &[u8] = match kind {
            JsonKind::Bool(true) => b"true",
            JsonKind::Bool(false) => b"false",
            _ => b"null",
        };
        self.literal::<R>(literal, piece, at)
    }

    fn begin_number<R: Reader>(
        &mut self,
        piece: &[u8],
        at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        let wanted = reader.value(JsonKind::Number, self.nesting.depth(), at);
        self.expected = self.behind_value::<R>();
        self.number = Some(0);
        self.number(wanted, Number::Start, piece, at, reader)
    }

    fn resume<R: Reader>(
        &mut self,
        open: Open,
        piece: &[u8],
        at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        match open {
            Open::String { wanted, part } => self.string(wanted, part, piece, at, reader),
            Open::Number { wanted, number } => self.number(wanted, number, piece, at, reader),
            Open::Literal(rest) => self.literal::<R>(rest, piece, at),
        }
    }

    /// Takes a string, or its part in the piece. Returns the index after it.
    fn string<R: Reader>(
        &mut self,
        wanted: bool,
        mut part: StringPart,
        piece: &[u8],
        mut at: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        loop {
            let scanned = if wanted {
                string::scan(piece, at, part, &mut self.text)
            } else {
                string::scan(piece, at, part, &mut Skip)
            };
            match scanned {
                Scanned::Closed(end) => {
                    if wanted {
                        let depth = self.nesting.depth();
                        if self.expected == Expected::Colon {
                            reader.key(self.text.end(), depth);
                        } else {
                            reader.string(self.text.end(), end);
                        }
                    }
                    return Ok(end);
                }
                Scanned::Split(part) => {
                    self.open = Some(Open::String { wanted, part });
                    return Ok(piece.len());
                }
                Scanned::Bad(bad) if R::STRICT => return Err(JsonFault::Malformed(bad)),
                Scanned::Bad(bad) => {
                    reader.fault(JsonFault::Malformed(bad));
                    (at, part) = (bad, StringPart::Chars);
                }
            }
        }
    }

    fn number<R: Reader>(
        &mut self,
        wanted: bool,
        mut number: Number,
        piece: &[u8],
        from: usize,
        reader: &mut R,
    ) -> Result<usize, JsonFault> {
        let mut at = from;
        while let Some(&byte) = piece.get(at) {
            match number.step(byte, R::STRICT) {
                Some(next) => number = next,
                None => break,
            }
            at += 1;
            if number.takes_digits() {
                at += piece[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
            }
        }
        if wanted {
            self.count(&piece[from..at]);
        }
        if at == piece.len() {
            self.open = Some(Open::Number { wanted, number });
        } else if R::STRICT && !number.is_whole() {
            return Err(JsonFault::Malformed(at));
        } else if wanted {
            reader.number(self.number);
        }
        Ok(at)
    }

    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
            self.number = self
                .number
                .zip(digit)
                .map(|(value, digit)| value.saturating_mul(10).saturating_add(digit));
        }
    }

    fn literal<R: Reader>(
        &mut self,
        rest: &'static [u8],
        piece: &[u8],
        at: usize,
    ) -> Result<usize, JsonFault> {
        let same = rest.iter().zip(&piece[at..]).take_while(|(a, b)| a == b);
        let same = same.count();
        let end = at + same;
        if same < rest.len() {
            if end == piece.len() {
                self.open = Some(Open::Literal(&rest[same..]));
            } else if R::STRICT {
                return Err(JsonFault::Malformed(end));
            }
        }
        Ok(end)
    }
}
