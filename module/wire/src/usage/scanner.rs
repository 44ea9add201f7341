//! The search for relevant keys.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use memchr::{memchr, memchr3};

use super::familiar::Familiar;
use super::object::Object;
use super::{SeenText, Tokens};

/// The relevant keys. `delta` is matched together with the beginning of its string: in
/// chunks of a chat completion its value is an object, at which the search would stop
/// needlessly.
const KEYS: [(&[u8], Key); 9] = [
    (b"\"usage\"", Key::Usage),
    (b"\"delta\":\"", Key::Delta),
    (b"\"delta\": \"", Key::Delta),
    (b"\"content\"", Key::Text),
    (b"\"text\"", Key::Text),
    (b"\"arguments\"", Key::Text),
    (b"\"refusal\"", Key::Text),
    (b"\"reasoning\"", Key::Text),
    (b"\"reasoning_content\"", Key::Text),
];

const LONGEST: usize = b"\"reasoning_content\"".len();

/// Searches for all keys at once with vector instructions.
static SEARCHER: LazyLock<Option<Searcher>> =
    LazyLock::new(|| Searcher::new(KEYS.iter().map(|(key, _)| key)));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Usage,
    /// Text in an event of the Responses API, which repeats it in other events.
    Delta,
    /// Text, or in chunks of chat completions the object that contains it.
    Text,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per response; a box would add an allocation"
)]
enum State {
    Search,
    /// The piece ended in a possible key.
    Begun {
        key: [u8; LONGEST],
        length: usize,
    },
    /// After a key; its colon follows.
    Colon(Key),
    /// After the colon.
    Value(Key),
    /// In a string that counts as text.
    Text {
        begun: bool,
        escape: bool,
    },
    /// After the first `"usage":{` of a document.
    Object(Object),
}

/// Finds the usage in a response received in pieces.
///
/// ```
/// use openai_wire::usage::UsageScanner;
///
/// let mut scanner = UsageScanner::new(false);
/// scanner.feed(br#"{"choices":[],"usage":{"prompt_tok"#);
/// scanner.feed(br#"ens":9,"completion_tokens":12,"total_tokens":21}}"#);
/// let tokens = scanner.finish(true).expect("the response states it");
/// assert_eq!((tokens.prompt, tokens.completion), (9, 12));
/// ```
#[derive(Debug)]
pub struct UsageScanner {
    /// Whether the response is an event stream: each line is a document.
    stream: bool,
    state: State,
    found: Option<Tokens>,
    content: SeenText,
    by_delta: bool,
    /// Parts around the text of earlier lines.
    familiar: Familiar,
    /// End of the line that is searched, in the current piece; 0 if unknown.
    line_end: usize,
    /// Whether an implausible usage was skipped.
    implausible: bool,
}

impl UsageScanner {
    /// A scanner at the start of a response: an event stream, or a JSON body.
    #[must_use]
    pub fn new(stream: bool) -> Self {
        Self {
            stream,
            state: State::Search,
            found: None,
            content: SeenText::default(),
            by_delta: false,
            familiar: Familiar::default(),
            line_end: 0,
            implausible: false,
        }
    }

    /// Takes the next piece of the response.
    pub fn feed(&mut self, piece: &[u8]) {
        self.familiar.next_piece();
        self.line_end = 0;
        let mut at = 0;
        while at < piece.len() {
            at = self.step(piece, at);
        }
    }

    /// The text seen so far.
    #[must_use]
    pub const fn content(&self) -> SeenText {
        self.content
    }

    /// Whether it is an event stream.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        self.stream
    }

    /// Whether the response stated an implausible usage, which was ignored.
    #[must_use]
    pub fn is_implausible(&self) -> bool {
        let now = matches!(&self.state, State::Object(object) if object.is_implausible());
        self.implausible || now
    }

    /// The stated usage. `whole` means that the response is complete.
    #[must_use]
    pub fn finish(&self, whole: bool) -> Option<Tokens> {
        match &self.state {
            // The depth is known only at the end of the document.
            State::Object(object) if whole => object.end(self.stream).or(self.found),
            _ => self.found,
        }
    }

    fn step(&mut self, piece: &[u8], at: usize) -> usize {
        let rest = &piece[at..];
        let byte = piece[at];
        match &mut self.state {
            State::Search => return self.search(piece, at),
            State::Begun { key, length } => {
                key[*length] = byte;
                *length += 1;
                let so_far = &key[..*length];
                let known = KEYS.iter().find(|(key, _)| key.starts_with(so_far));
                match known {
                    None => {
                        // The byte may begin another key.
                        self.state = State::Search;
                        return at;
                    }
                    Some((key, found)) if *key == so_far => self.key(*found, piece, at + 1),
                    Some(_) => {}
                }
            }
            State::Colon(key) => match byte {
                b':' => self.state = State::Value(*key),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    self.state = State::Search;
                    return at;
                }
            },
            State::Value(key) => match (byte, *key) {
                (b' ' | b'\t' | b'\r' | b'\n', _) => {}
                (b'{', Key::Usage) => {
                    self.familiar.matters();
                    self.state = State::Object(Object::new());
                    return at;
                }
                (b'"', Key::Text) if !(self.stream && self.by_delta) => self.text(piece, at + 1),
                _ => {
                    self.state = State::Search;
                    // A string here is a value, and no key begins at its end.
                    return at + usize::from(byte == b'"');
                }
            },
            State::Text { begun, escape } => {
                if std::mem::take(escape) {
                    self.content.bytes += 1;
                    return at + 1;
                }
                let stop = memchr3(b'"', b'\\', b'\n', rest);
                let length = stop.unwrap_or(rest.len());
                let end = stop.map(|stop| rest[stop]);
                if !*begun && (length > 0 || end == Some(b'\\')) {
                    *begun = true;
                    self.content.pieces += 1;
                }
                self.content.bytes += length as u64;
                let next = at + length + usize::from(stop.is_some());
                match end {
                    Some(b'\\') => {
                        self.content.bytes += 1;
                        *escape = true;
                    }
                    Some(byte) => {
                        self.state = State::Search;
                        if self.stream && byte == b'"' {
                            return self.familiar.text_ends(piece, next);
                        }
                    }
                    None => {}
                }
                return next;
            }
            State::Object(object) => {
                // In a stream the document ends with the line.
                let end = memchr(b'\n', rest).filter(|_| self.stream);
                object.feed(&rest[..end.unwrap_or(rest.len())]);
                let Some(end) = end else {
                    return piece.len();
                };
                self.implausible |= object.is_implausible();
                self.found = object.end(self.stream).or(self.found);
                self.state = State::Search;
                return at + end + 1;
            }
        }
        at + 1
    }

    /// A key ends before `at`.
    fn key(&mut self, key: Key, piece: &[u8], at: usize) {
        if key != Key::Delta {
            self.state = State::Colon(key);
            return;
        }
        if !std::mem::replace(&mut self.by_delta, true) {
            self.familiar.forget();
        }
        self.text(piece, at);
    }

    fn text(&mut self, piece: &[u8], at: usize) {
        self.familiar.text_begins(piece, at);
        self.state = State::Text {
            begun: false,
            escape: false,
        };
    }

    /// Searches for the next key; returns the index up to which the piece is searched.
    fn search(&mut self, piece: &[u8], at: usize) -> usize {
        let mut end = piece.len();
        if self.stream {
            if piece[at] == b'\n' {
                self.familiar.line_ends(piece, at + 1);
                return at + 1;
            }
            if let Some(text) = self.familiar.line(piece, at) {
                self.state = State::Text {
                    begun: false,
                    escape: false,
                };
                return text;
            }
            // Search for it once per line, because a line may contain many keys.
            if self.line_end <= at {
                let newline = memchr(b'\n', &piece[at..]);
                self.line_end = newline.map_or(piece.len(), |newline| at + newline + 1);
            }
            end = self.line_end;
        }
        let rest = &piece[at..end];
        if let Some((key, end)) = find(rest) {
            self.key(key, piece, at + end);
            return at + end;
        }
        if self.stream && rest.ends_with(b"\n") {
            self.familiar.line_ends(piece, end);
            return end;
        }
        let tail = rest.len().saturating_sub(LONGEST - 1);
        let quotes = memchr::memchr_iter(b'"', &rest[tail..]);
        let mut begun = quotes.map(|quote| &rest[tail + quote..]);
        if let Some(begun) = begun.find(|begun| KEYS.iter().any(|(key, _)| key.starts_with(begun)))
        {
            let mut key = [0; LONGEST];
            key[..begun.len()].copy_from_slice(begun);
            self.state = State::Begun {
                key,
                length: begun.len(),
            };
        }
        end
    }
}

/// The first key in `text`, and the index after it.
fn find(text: &[u8]) -> Option<(Key, usize)> {
    if let Some(searcher) = &*SEARCHER {
        let found = searcher.find(text)?;
        return Some((KEYS[found.pattern().as_usize()].1, found.end()));
    }
    // For processors without vector instructions that the searcher supports.
    memchr::memchr_iter(b'"', text).find_map(|at| {
        let known = KEYS.iter().find(|(key, _)| text[at..].starts_with(key));
        known.map(|(key, found)| (*found, at + key.len()))
    })
}
