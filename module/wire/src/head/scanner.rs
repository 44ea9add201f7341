//! The scanner: gives the tokens of a body their meaning.

use super::found::{Count, Found};
use super::text::{Captured, Text};
use super::{Field, Head, HeadError, MAX_MODEL, MAX_USER};
use crate::json::{Fault, Kind, Reader, Tokenizer};

/// Maximum length of a stored string.
const LONGEST: usize = if MAX_USER > MAX_MODEL {
    MAX_USER
} else {
    MAX_MODEL
};

/// The meaning of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Field(Field),
    Count(Count),
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
            json: Tokenizer::new(),
            body: Body::default(),
        }
    }

    /// Takes the next piece. Returns at once when the body is malformed.
    pub fn feed(&mut self, piece: &[u8]) {
        self.json.feed(piece, 0, &mut self.body);
        self.body.offset += piece.len() as u64;
    }

    /// The head, after the whole body.
    ///
    /// # Errors
    /// When the body is not a JSON object, is truncated, or nested too deeply.
    pub fn finish(self) -> Result<Head, HeadError> {
        match self.body.error {
            Some(error) => Err(error),
            None if self.json.is_complete() => Ok(self.body.found.into_head()),
            None => Err(HeadError::Malformed {
                offset: self.body.offset,
            }),
        }
    }
}

impl Body {
    const fn offset(&self, at: usize) -> u64 {
        self.offset + at as u64
    }
}

impl Reader for Body {
    const STRICT: bool = true;

    fn wants_key(&mut self, depth: usize) -> bool {
        let option = depth == 2 && self.in_options;
        if option {
            self.found.options_member();
        }
        option || depth == 1
    }

    fn key(&mut self, key: Option<&[u8]>, depth: usize) {
        self.named = key.and_then(|key| named(key, depth));
    }

    fn value(&mut self, kind: Kind, depth: usize, at: usize) -> bool {
        if depth == 1 {
            self.in_options = false;
        }
        let Some(named) = self.named.take() else {
            return false;
        };
        let at = self.offset(at);
        match named {
            Named::Prompt => self.prompt_from = Some(at),
            Named::Field(field) => {
                self.found.begin(field, kind);
                if field == Field::StreamOptions {
                    self.found.options_begin(kind, at);
                    self.in_options = kind == Kind::Object;
                }
            }
            Named::Count(_) => {}
        }
        let wanted = match named {
            Named::Field(Field::Model | Field::User) => kind == Kind::String,
            Named::Count(_) => kind == Kind::Number,
            _ => false,
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
                let at = self.value_at..self.offset(end);
                self.found.model(captured(text), at);
            }
            Some(Named::Field(Field::User)) => self.found.user(captured(text)),
            _ => {}
        }
    }

    fn number(&mut self, value: Option<u64>) {
        if let Some(Named::Count(of)) = self.named.take() {
            self.found.count(of, value);
        }
    }

    fn end_member(&mut self, depth: usize, at: usize) {
        if depth == 1 {
            // The last member ends with the body.
            self.found.end_at = self.offset(at);
            if let Some(from) = self.prompt_from.take() {
                self.found.prompt_bytes = self.found.end_at - from;
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.error = Some(match fault {
            Fault::Malformed(at) => HeadError::Malformed {
                offset: self.offset(at),
            },
            Fault::TooDeep(at) => HeadError::TooDeep {
                offset: self.offset(at),
            },
        });
    }
}

fn captured<const N: usize>(text: Option<&[u8]>) -> Captured<N> {
    text.and_then(Text::lossy)
        .map_or(Captured::TooLong, Captured::Text)
}

/// The meaning of a key of the body, or of `stream_options`.
fn named(key: &[u8], depth: usize) -> Option<Named> {
    Some(match (key, depth) {
        (b"model", 1) => Named::Field(Field::Model),
        (b"stream", 1) => Named::Field(Field::Stream),
        (b"stream_options", 1) => Named::Field(Field::StreamOptions),
        (b"user", 1) => Named::Field(Field::User),
        (b"include_usage", 2) => Named::Field(Field::IncludeUsage),
        (b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens", 1) => {
            Named::Count(Count::MaxTokens)
        }
        (b"n", 1) => Named::Count(Count::Choices),
        (b"messages" | b"prompt" | b"input", 1) => Named::Prompt,
        _ => return None,
    })
}
