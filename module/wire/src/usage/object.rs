//! The rest of a document after its first `"usage"`.

use memchr::memchr3;

use super::Tokens;

/// Length of the longest relevant key.
const LONGEST: usize = b"completion_tokens_details".len();

/// A relevant key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Usage,
    Prompt,
    Completion,
    Total,
    Cached,
    Reasoning,
    PromptDetails,
    CompletionDetails,
}

fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"usage" => Field::Usage,
        b"prompt_tokens" | b"input_tokens" => Field::Prompt,
        b"completion_tokens" | b"output_tokens" => Field::Completion,
        b"total_tokens" => Field::Total,
        b"cached_tokens" => Field::Cached,
        b"reasoning_tokens" => Field::Reasoning,
        b"prompt_tokens_details" | b"input_tokens_details" => Field::PromptDetails,
        b"completion_tokens_details" | b"output_tokens_details" => Field::CompletionDetails,
        _ => return None,
    })
}

/// The numbers of an object `usage`.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: u64,
    reasoning: u64,
}

impl Counts {
    fn tokens(self) -> Option<Tokens> {
        let completion = self.completion.unwrap_or_default();
        let rest = self.total.map(|total| total.saturating_sub(completion));
        if self.completion.is_none() && self.prompt.or(rest).is_none() {
            return None;
        }
        let prompt = self.prompt.or(rest).unwrap_or_default();
        Some(Tokens {
            prompt,
            completion,
            cached: self.cached.min(prompt),
            reasoning: self.reasoning.min(completion),
        })
    }
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    String,
    Escape,
    Number(Field, u64),
}

/// An object `usage` being read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Depth of the enclosing object.
    depth: i32,
    counts: Counts,
    details: Option<Field>,
}

/// Parses from the value of a key `usage` on, with depths relative to the object that contains
/// the key.
#[derive(Debug)]
pub(super) struct Object {
    state: State,
    depth: i32,
    key: [u8; LONGEST],
    /// Length of the last string; above the limit when it was too long.
    length: usize,
    /// The key of the next value.
    field: Option<Field>,
    reading: Option<Reading>,
    /// The outermost usage so far; the last one if there are several.
    best: Option<(i32, Tokens)>,
    /// Whether implausible numbers were skipped.
    implausible: bool,
}

impl Object {
    pub(super) fn new() -> Self {
        Self {
            state: State::Between,
            depth: 0,
            key: [0; LONGEST],
            length: 0,
            field: Some(Field::Usage),
            reading: None,
            best: None,
            implausible: false,
        }
    }

    /// Parses the next bytes. Returns the index after the document if it ends in the piece; in a
    /// stream it ends with the line.
    pub(super) fn feed(&mut self, piece: &[u8], stream: bool) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if byte == b'\n' && stream {
                return Some(at + 1);
            }
            match self.state {
                State::String => {
                    let rest = &piece[at..];
                    let stop = memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len());
                    self.keep(&rest[..stop]);
                    at += stop;
                    match rest.get(stop) {
                        Some(b'"') => self.state = State::Between,
                        Some(b'\\') => self.state = State::Escape,
                        // In a body it is part of the string.
                        Some(_) if !stream => self.keep(b"\n"),
                        _ => continue,
                    }
                }
                State::Escape => {
                    // No relevant key contains one.
                    self.length = LONGEST + 1;
                    self.state = State::String;
                }
                State::Number(field, value) => match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let value = value.saturating_mul(10).saturating_add(digit);
                        self.state = State::Number(field, value);
                    }
                    // Not a whole number.
                    b'.' | b'e' | b'E' | b'-' | b'+' => self.state = State::Between,
                    _ => {
                        self.count(field, value);
                        self.state = State::Between;
                        continue;
                    }
                },
                State::Between => self.between(byte),
            }
            at += 1;
        }
        None
    }

    fn keep(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        match self.key.get_mut(self.length..end) {
            Some(room) => {
                room.copy_from_slice(part);
                self.length = end;
            }
            None => self.length = LONGEST + 1,
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.length = 0;
                self.state = State::String;
            }
            b':' => {
                self.field = self.key.get(..self.length).and_then(field);
                self.length = 0;
            }
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => self.close(),
            b'0'..=b'9' => {
                if let Some(field) = self.field.take() {
                    self.state = State::Number(field, u64::from(byte - b'0'));
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.field = None,
        }
    }

    fn open(&mut self, object: bool) {
        let field = self.field.take().filter(|_| object);
        match &mut self.reading {
            None if field == Some(Field::Usage) => {
                self.reading = Some(Reading {
                    depth: self.depth,
                    counts: Counts::default(),
                    details: None,
                });
            }
            Some(reading) if self.depth == reading.depth.saturating_add(1) => {
                reading.details = field;
            }
            _ => {}
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn close(&mut self) {
        self.field = None;
        self.depth = self.depth.saturating_sub(1);
        let Some(reading) = self.reading else { return };
        if self.depth > reading.depth {
            return;
        }
        self.reading = None;
        let outermost = self.best.is_none_or(|(depth, _)| reading.depth <= depth);
        match reading.counts.tokens().filter(|_| outermost) {
            Some(tokens) if tokens.is_plausible() => self.best = Some((reading.depth, tokens)),
            Some(_) => self.implausible = true,
            None => {}
        }
    }

    fn count(&mut self, field: Field, value: u64) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let counts = &mut reading.counts;
        match (
            self.depth.saturating_sub(reading.depth),
            field,
            reading.details,
        ) {
            (1, Field::Prompt, _) => counts.prompt = Some(value),
            (1, Field::Completion, _) => counts.completion = Some(value),
            (1, Field::Total, _) => counts.total = Some(value),
            (2, Field::Cached, Some(Field::PromptDetails)) => counts.cached = value,
            (2, Field::Reasoning, Some(Field::CompletionDetails)) => counts.reasoning = value,
            _ => {}
        }
    }

    /// Whether implausible numbers were skipped.
    pub(super) fn is_implausible(&self) -> bool {
        self.implausible
    }

    /// The usage at the end of the document, if it was in the outermost object, or in a stream
    /// one level deeper.
    pub(super) fn end(&self, stream: bool) -> Option<Tokens> {
        let (depth, tokens) = self.best?;
        let level = depth.saturating_sub(self.depth);
        (level == 1 || (stream && level == 2)).then_some(tokens)
    }
}
