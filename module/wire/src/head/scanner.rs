//! The scanner: a pushdown automaton that can be suspended after any byte.

use super::capture::Capture;
use super::count::{Count, Counting};
use super::found::{Found, Kind};
use super::nesting::Nesting;
use super::number::Number;
use super::string::{self, Part, Scanned, Skip};
use super::{Field, Head, HeadError};

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The body's object.
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
    /// The rest of a string.
    String { of: Text, part: Part },
    /// The rest of a number.
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

/// Kind of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A key that may be a known field.
    Key,
    /// Any other key.
    OtherKey,
    /// The value of `model`.
    Model,
    /// The value of `user`.
    User,
    /// Any other value.
    Other,
}

/// What a key can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Field(Field),
    Count(Count),
}

/// Why the scan failed, with the index in the piece.
enum Fault {
    Malformed(usize),
    TooDeep(usize),
}

/// Scans the head of a JSON body that comes in pieces.
///
/// ```
/// use openai_wire::head::HeadScanner;
///
/// let mut scanner = HeadScanner::new();
/// scanner.feed(br#"{"model":"gpt-4o","str"#);
/// scanner.feed(br#"eam":true,"messages":[]}"#);
/// let head = scanner.finish()?;
/// assert_eq!(head.model.as_str(), Some("gpt-4o"));
/// assert_eq!(head.stream, Some(true));
/// # Ok::<(), openai_wire::head::HeadError>(())
/// ```
#[derive(Debug)]
pub struct HeadScanner {
    state: State,
    nesting: Nesting,
    /// The field of the next value.
    field: Option<Named>,
    /// The current number, if it is needed.
    counting: Option<Counting>,
    /// Position of the last value of `model`.
    model_start: u64,
    /// Whether the object at depth two is `stream_options`.
    in_options: bool,
    /// Whether the next value is the prompt, and where the current prompt began.
    prompt_next: bool,
    prompt_from: Option<u64>,
    capture: Capture,
    found: Found,
    /// Total length of earlier pieces.
    offset: u64,
    error: Option<HeadError>,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadScanner {
    /// A scanner at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Document,
            nesting: Nesting::new(),
            field: None,
            counting: None,
            model_start: 0,
            in_options: false,
            prompt_next: false,
            prompt_from: None,
            capture: Capture::new(),
            found: Found::default(),
            offset: 0,
            error: None,
        }
    }

    /// Takes the next piece. Returns at once when the body is malformed.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.error.is_some() {
            return;
        }
        let mut at = 0;
        while at < piece.len() {
            match self.step(piece, at) {
                Ok(next) => at = next,
                Err(fault) => {
                    self.error = Some(self.located(&fault));
                    return;
                }
            }
        }
        self.offset += piece.len() as u64;
    }

    /// The head, after the whole body.
    ///
    /// # Errors
    /// When the body is not a JSON object, is truncated, or nested too deeply.
    pub fn finish(self) -> Result<Head, HeadError> {
        match (self.error, self.state) {
            (Some(error), _) => Err(error),
            (None, State::End) => Ok(self.found.into_head()),
            (None, _) => Err(HeadError::Malformed {
                offset: self.offset,
            }),
        }
    }

    fn located(&self, fault: &Fault) -> HeadError {
        match *fault {
            Fault::Malformed(at) => HeadError::Malformed {
                offset: self.offset + at as u64,
            },
            Fault::TooDeep(at) => HeadError::TooDeep {
                offset: self.offset + at as u64,
            },
        }
    }

    /// Takes one token, or its part in the piece. Returns the index after it.
    fn step(&mut self, piece: &[u8], at: usize) -> Result<usize, Fault> {
        let byte = piece[at];
        match (self.state, byte) {
            (State::String { of, part }, _) => return self.string(piece, at, of, part),
            (State::Number(number), _) => return self.number(number, piece, at),
            (State::Literal(rest), _) => self.literal(rest, byte, at)?,
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (State::Next, b',') => {
                self.end_prompt(at);
                self.state = if self.nesting.in_object() {
                    State::Key
                } else {
                    State::Value
                };
            }
            (State::FirstKey | State::Key, b'"') => self.key(),
            (State::Colon, b':') => self.state = State::Value,
            (State::Next, b'}') if self.nesting.in_object() => {
                self.end_prompt(at);
                self.found.end_at = self.offset + at as u64;
                self.close();
            }
            (State::Next, b']') if !self.nesting.in_object() => self.close(),
            (State::FirstKey, b'}') | (State::FirstItem, b']') => self.close(),
            (State::Value | State::FirstItem, _) => self.value(byte, at)?,
            (State::Document, b'{') => self.open(true, at)?,
            _ => return Err(Fault::Malformed(at)),
        }
        Ok(at + 1)
    }

    fn key(&mut self) {
        let of = match self.nesting.depth() {
            1 => Text::Key,
            2 if self.in_options => {
                self.found.options_member();
                Text::Key
            }
            _ => Text::OtherKey,
        };
        self.begin_string(of);
    }

    fn begin_string(&mut self, of: Text) {
        self.capture.clear();
        self.state = State::String {
            of,
            part: Part::Chars,
        };
    }

    fn value(&mut self, byte: u8, at: usize) -> Result<(), Fault> {
        let kind = match byte {
            b'"' => Kind::String,
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b't' => Kind::Bool(true),
            b'f' => Kind::Bool(false),
            b'n' => Kind::Null,
            _ => Kind::Number,
        };
        if core::mem::take(&mut self.prompt_next) {
            self.prompt_from = Some(self.offset + at as u64);
        }
        let (field, count) = match self.field.take() {
            Some(Named::Field(field)) => (Some(field), None),
            Some(Named::Count(count)) => (None, Some(count)),
            None => (None, None),
        };
        if let Some(field) = field {
            self.found.begin(field, kind);
            if field == Field::StreamOptions {
                self.found.options_begin(kind, self.offset + at as u64);
            }
        }
        match kind {
            Kind::String => {
                let of = match field {
                    Some(Field::Model) => {
                        self.model_start = self.offset + at as u64;
                        Text::Model
                    }
                    Some(Field::User) => Text::User,
                    _ => Text::Other,
                };
                self.begin_string(of);
            }
            Kind::Object => {
                self.in_options |= field == Some(Field::StreamOptions);
                self.open(true, at)?;
            }
            Kind::Array => self.open(false, at)?,
            Kind::Bool(true) => self.state = State::Literal(b"rue"),
            Kind::Bool(false) => self.state = State::Literal(b"alse"),
            Kind::Null => self.state = State::Literal(b"ull"),
            Kind::Number => {
                let number = Number::begin(byte).ok_or(Fault::Malformed(at))?;
                self.counting = count.map(|count| Counting::begin(count, byte));
                self.state = State::Number(number);
            }
        }
        Ok(())
    }

    /// Ends the prompt if a value ends here.
    fn end_prompt(&mut self, at: usize) {
        if self.nesting.depth() == 1
            && let Some(from) = self.prompt_from.take()
        {
            self.found.prompt_bytes = self.offset + at as u64 - from;
        }
    }

    fn open(&mut self, object: bool, at: usize) -> Result<(), Fault> {
        if !self.nesting.open(object) {
            return Err(Fault::TooDeep(at));
        }
        self.state = if object {
            State::FirstKey
        } else {
            State::FirstItem
        };
        Ok(())
    }

    fn close(&mut self) {
        self.nesting.close();
        self.state = match self.nesting.depth() {
            0 => State::End,
            _ => State::Next,
        };
        self.in_options &= self.nesting.depth() > 1;
    }

    fn number(&mut self, mut number: Number, piece: &[u8], at: usize) -> Result<usize, Fault> {
        for (step, &byte) in piece[at..].iter().enumerate() {
            match number.step(byte) {
                Some(next) => number = next,
                None if number.is_whole() => {
                    if let Some(mut counting) = self.counting.take() {
                        counting.take(&piece[at..at + step]);
                        self.found.count(counting);
                    }
                    self.state = State::Next;
                    return Ok(at + step);
                }
                None => return Err(Fault::Malformed(at + step)),
            }
        }
        if let Some(counting) = &mut self.counting {
            counting.take(&piece[at..]);
        }
        self.state = State::Number(number);
        Ok(piece.len())
    }

    fn literal(&mut self, rest: &'static [u8], byte: u8, at: usize) -> Result<(), Fault> {
        match rest {
            [wanted] if *wanted == byte => self.state = State::Next,
            [wanted, rest @ ..] if *wanted == byte => self.state = State::Literal(rest),
            _ => return Err(Fault::Malformed(at)),
        }
        Ok(())
    }

    fn string(&mut self, piece: &[u8], at: usize, of: Text, part: Part) -> Result<usize, Fault> {
        let scanned = match of {
            Text::OtherKey | Text::Other => string::scan(piece, at, part, &mut Skip),
            _ => string::scan(piece, at, part, &mut self.capture),
        };
        match scanned {
            Scanned::Closed(end) => {
                self.end_string(of, end);
                Ok(end)
            }
            Scanned::Split(part) => {
                self.state = State::String { of, part };
                Ok(piece.len())
            }
            Scanned::Bad(at) => Err(Fault::Malformed(at)),
        }
    }

    fn end_string(&mut self, of: Text, end: usize) {
        self.state = State::Next;
        match of {
            Text::Other => {}
            Text::OtherKey => self.state = State::Colon,
            Text::Key => {
                self.state = State::Colon;
                let key = self.capture.end();
                self.prompt_next =
                    !self.in_options && matches!(key, Some(b"messages" | b"prompt" | b"input"));
                self.field = named(key, self.in_options);
            }
            Text::Model => {
                let at = self.model_start..self.offset + end as u64;
                self.found.model(self.capture.end_text(), at);
            }
            Text::User => self.found.user(self.capture.end_text()),
        }
    }
}

/// The field that a key names.
fn named(key: Option<&[u8]>, in_options: bool) -> Option<Named> {
    Some(match (key?, in_options) {
        (b"model", false) => Named::Field(Field::Model),
        (b"stream", false) => Named::Field(Field::Stream),
        (b"stream_options", false) => Named::Field(Field::StreamOptions),
        (b"user", false) => Named::Field(Field::User),
        (b"include_usage", true) => Named::Field(Field::IncludeUsage),
        (b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens", false) => {
            Named::Count(Count::MaxTokens)
        }
        (b"n", false) => Named::Count(Count::Choices),
        _ => return None,
    })
}
