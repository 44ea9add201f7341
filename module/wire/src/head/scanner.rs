//! Interprets the tokens of a request body.

use super::text::Captured;
use super::{Field, Head, HeadError, MAX_MODEL, MAX_USER, Options};
use crate::json::{JsonFault, JsonKind, Reader, Tokenizer};

/// Maximum length of a stored string, in bytes.
const LONGEST: usize = if MAX_USER > MAX_MODEL {
    MAX_USER
} else {
    MAX_MODEL
};

/// The meaning of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Field(Field),
    MaxTokens,
    Choices,
    Prompt,
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
    json: Tokenizer<LONGEST>,
    /// Whether the body is an object, once its first byte is known.
    is_object: Option<bool>,
    body: Body,
}

/// State of the body, without its syntax.
#[derive(Debug, Default)]
struct Body {
    /// The meaning of the last key; kept while its value is read, if that is wanted.
    named: Option<Named>,
    /// Position of the value that is being read, if it is wanted.
    value_at: u64,
    /// Whether the object at depth two is `stream_options`.
    in_options: bool,
    /// Position of the prompt, while it is read.
    prompt_from: Option<u64>,
    head: Head,
    /// Whether the last value of each [`Field`] has a wrong type.
    wrong: [bool; Field::ALL.len()],
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
            json: Tokenizer::at_value(),
            is_object: None,
            body: Body::default(),
        }
    }

    /// Takes the next piece. Returns at once when the body is malformed.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.is_object.is_none() {
            let first = piece.iter().find(|byte| !byte.is_ascii_whitespace());
            self.is_object = first.map(|&first| first == b'{');
        }
        self.json.feed(piece, 0, &mut self.body);
        self.body.offset += piece.len() as u64;
    }

    /// The head, after the whole body.
    ///
    /// # Errors
    /// When the body is not JSON, is truncated, nested too deeply, or not an object.
    pub fn finish(self) -> Result<Head, HeadError> {
        let Body {
            mut head,
            wrong,
            offset,
            error,
            ..
        } = self.body;
        if let Some(error) = error {
            return Err(error);
        }
        if !self.json.is_complete() {
            return Err(HeadError::Malformed { offset });
        }
        if self.is_object != Some(true) {
            return Err(HeadError::NotAnObject);
        }
        let wrong = |field: &Field| wrong[*field as usize];
        head.wrong_kind = Field::ALL.into_iter().find(wrong);
        Ok(head)
    }
}

impl Body {
    const fn offset(&self, at: usize) -> u64 {
        self.offset + at as u64
    }

    /// Handles the beginning of a value of `field` at this byte, which replaces an earlier
    /// value. Returns whether its text is wanted.
    // Inlined, it would slow down all other values.
    #[inline(never)]
    fn begin(&mut self, field: Field, kind: JsonKind, at: u64) -> bool {
        let head = &mut self.head;
        let flag = match kind {
            JsonKind::Bool(flag) => Some(flag),
            _ => None,
        };
        let fits = match field {
            Field::Model => {
                (head.model, head.model_at) = (Captured::Absent, None);
                kind == JsonKind::String
            }
            Field::User => {
                head.user = Captured::Absent;
                kind == JsonKind::String
            }
            Field::Stream => {
                head.stream = flag;
                flag.is_some()
            }
            Field::IncludeUsage => {
                (head.include_usage, head.options) = (flag, Options::Said);
                flag.is_some()
            }
            Field::StreamOptions => {
                self.in_options = kind == JsonKind::Object;
                self.wrong[Field::IncludeUsage as usize] = false;
                head.include_usage = None;
                head.options = match kind {
                    JsonKind::Null => Options::Null(at),
                    JsonKind::Object => Options::Empty(at),
                    _ => Options::Said,
                };
                self.in_options
            }
        };
        self.wrong[field as usize] = !fits && kind != JsonKind::Null;
        fits && kind == JsonKind::String
    }
}

impl Reader for Body {
    const STRICT: bool = true;

    fn wants_key(&mut self, depth: usize) -> bool {
        let option = depth == 2 && self.in_options;
        if let (true, Options::Empty(at)) = (option, self.head.options) {
            self.head.options = Options::Object(at);
        }
        option || depth == 1
    }

    fn key(&mut self, key: Option<&[u8]>, depth: usize) {
        self.named = key.and_then(|key| named(key, depth));
    }

    fn value(&mut self, kind: JsonKind, depth: usize, at: usize) -> bool {
        if depth == 1 {
            self.in_options = false;
        }
        let Some(named) = self.named.take() else {
            return false;
        };
        let at = self.offset(at);
        let wanted = match named {
            Named::Field(field) => self.begin(field, kind, at),
            Named::MaxTokens | Named::Choices => kind == JsonKind::Number,
            Named::Prompt => {
                self.prompt_from = Some(at);
                false
            }
        };
        if wanted {
            self.named = Some(named);
            self.value_at = at;
        }
        wanted
    }

    fn string(&mut self, text: Option<&[u8]>, end: usize) {
        match self.named.take() {
            Some(Named::Field(Field::Model)) => {
                self.head.model = captured(text);
                self.head.model_at = Some(self.value_at..self.offset(end));
            }
            Some(Named::Field(Field::User)) => self.head.user = captured(text),
            _ => {}
        }
    }

    fn number(&mut self, value: Option<u64>) {
        let of = match self.named.take() {
            Some(Named::MaxTokens) => &mut self.head.max_tokens,
            Some(Named::Choices) => &mut self.head.choices,
            _ => return,
        };
        *of = value.and_then(|value| value.try_into().ok()).or(*of);
    }

    fn end_member(&mut self, depth: usize, at: usize) {
        if depth == 1 {
            // The last member ends with the body.
            self.head.end_at = self.offset(at);
            if let Some(from) = self.prompt_from.take() {
                self.head.prompt_bytes = self.head.end_at - from;
            }
        }
    }

    fn fault(&mut self, fault: JsonFault) {
        self.error = Some(match fault {
            JsonFault::Malformed(at) => HeadError::Malformed {
                offset: self.offset(at),
            },
            JsonFault::TooDeep(at) => HeadError::TooDeep {
                offset: self.offset(at),
            },
        });
    }
}

fn captured<const N: usize>(text: Option<&[u8]>) -> Captured<N> {
    text.map_or(Captured::TooLong, Captured::lossy)
}

/// The meaning of a key of the body, or of `stream_options`.
fn named(key: &[u8], depth: usize) -> Option<Named> {
    Some(match (key, depth) {
        (b"model", 1) => Named::Field(Field::Model),
        (b"stream", 1) => Named::Field(Field::Stream),
        (b"stream_options", 1) => Named::Field(Field::StreamOptions),
        (b"user", 1) => Named::Field(Field::User),
        (b"include_usage", 2) => Named::Field(Field::IncludeUsage),
        (b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens", 1) => Named::MaxTokens,
        (b"n", 1) => Named::Choices,
        (b"messages" | b"prompt" | b"input", 1) => Named::Prompt,
        _ => return None,
    })
}
