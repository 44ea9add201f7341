//! The rest of a document after its first `"usage"`.

use super::Tokens;
use crate::json::{JsonKind, Reader, Tokenizer};

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
    json: Tokenizer<LONGEST>,
    rest: Rest,
}

/// State of the document, without its syntax.
#[derive(Debug)]
struct Rest {
    depth: i32,
    /// The last key; kept while its value is read, if that is a number.
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
            json: Tokenizer::at_value(),
            rest: Rest {
                depth: 0,
                field: Some(Field::Usage),
                reading: None,
                best: None,
                implausible: false,
            },
        }
    }

    /// Parses the next bytes of the document.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.json.feed(piece, 0, &mut self.rest);
    }

    /// Whether implausible numbers were skipped.
    pub(super) fn is_implausible(&self) -> bool {
        self.rest.implausible
    }

    /// The usage at the end of the document, if it was in the outermost object, or in a stream
    /// one level deeper.
    pub(super) fn end(&self, stream: bool) -> Option<Tokens> {
        let (depth, tokens) = self.rest.best?;
        let level = depth.saturating_sub(self.rest.depth);
        (level == 1 || (stream && level == 2)).then_some(tokens)
    }
}

impl Reader for Rest {
    fn wants_key(&mut self, _depth: usize) -> bool {
        true
    }

    fn key(&mut self, key: Option<&[u8]>, _depth: usize) {
        self.field = key.and_then(field);
    }

    fn value(&mut self, kind: JsonKind, _depth: usize, _at: usize) -> bool {
        match kind {
            JsonKind::Number => return self.field.is_some(),
            JsonKind::Object | JsonKind::Array => self.open(kind == JsonKind::Object),
            _ => {}
        }
        self.field = None;
        false
    }

    fn number(&mut self, value: Option<u64>) {
        if let (Some(field), Some(value)) = (self.field.take(), value) {
            self.count(field, value);
        }
    }

    fn end_member(&mut self, _depth: usize, _at: usize) {
        // A string in an array that was already open is not a key.
        self.field = None;
    }

    fn close(&mut self, _depth: usize) {
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
}

impl Rest {
    fn open(&mut self, object: bool) {
        let field = self.field.filter(|_| object);
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
}
