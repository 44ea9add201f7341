//! Search for the model's name in a JSON document.

use super::Kept;
use crate::head::{Capture, Part, Scanned, Skip, scan_string};

/// State within a document at the end of a piece. The document is not validated; anything else is
/// left unchanged.
#[derive(Debug)]
pub(super) struct Document {
    state: State,
    /// Number of open objects and arrays.
    depth: usize,
    /// Whether the object at depth two is `response`.
    in_response: bool,
    /// Whether a key of interest can follow.
    wants_key: bool,
    /// The last key of interest.
    key: Option<Key>,
    capture: Capture,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the object.
    Before,
    Inside,
    String {
        of: Text,
        part: Part,
    },
    /// After the object, or in something else.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// In a key that may be of interest.
    Key,
    /// In the name that is replaced.
    Model,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Model,
    Response,
}

impl Document {
    pub(super) fn new() -> Self {
        Self {
            state: State::Before,
            depth: 0,
            in_response: false,
            wants_key: false,
            key: None,
            capture: Capture::new(),
        }
    }

    /// Begins a new document.
    pub(super) fn begin(&mut self) {
        self.state = State::Before;
    }

    /// Leaves the rest of the document unchanged.
    pub(super) fn give_up(&mut self) {
        self.state = State::Over;
    }

    /// Whether the scan is within the replaced name.
    pub(super) fn replaces(&self) -> bool {
        matches!(
            self.state,
            State::String {
                of: Text::Model,
                ..
            }
        )
    }

    /// Scans the bytes from `at` on.
    pub(super) fn scan(&mut self, piece: &[u8], mut at: usize, kept: &mut Kept<'_>) {
        while at < piece.len() {
            at = match self.state {
                State::Before => self.open(piece, at),
                State::Inside => self.step(piece, at, kept),
                State::String { of, part } => self.string(piece, at, of, part, kept),
                State::Over => return,
            };
        }
    }

    fn open(&mut self, piece: &[u8], at: usize) -> usize {
        match piece[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'{' => {
                self.state = State::Inside;
                self.depth = 1;
                self.in_response = false;
                self.wants_key = true;
                self.key = None;
            }
            _ => self.state = State::Over,
        }
        at + 1
    }

    fn step(&mut self, piece: &[u8], at: usize, kept: &mut Kept<'_>) -> usize {
        let here = self.depth == 1 || (self.depth == 2 && self.in_response);
        match piece[at] {
            b'"' => {
                let of = match self.key {
                    _ if !here => Text::Other,
                    _ if self.wants_key => Text::Key,
                    Some(Key::Model) => Text::Model,
                    _ => Text::Other,
                };
                match of {
                    Text::Key => self.capture.clear(),
                    Text::Model => kept.replace(at),
                    Text::Other => {}
                }
                let part = Part::Chars;
                self.state = State::String { of, part };
            }
            byte @ (b'{' | b'[') => {
                if self.depth == 1 && byte == b'{' && self.key == Some(Key::Response) {
                    self.in_response = true;
                    self.wants_key = true;
                    self.key = None;
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth -= 1;
                match self.depth {
                    0 => self.state = State::Over,
                    1 => {
                        self.in_response = false;
                        self.wants_key = false;
                        self.key = None;
                    }
                    _ => {}
                }
            }
            b',' if here => {
                self.wants_key = true;
                self.key = None;
            }
            b':' if here => self.wants_key = false,
            _ => {}
        }
        at + 1
    }

    fn string(
        &mut self,
        piece: &[u8],
        at: usize,
        of: Text,
        part: Part,
        kept: &mut Kept<'_>,
    ) -> usize {
        let scanned = match of {
            Text::Key => scan_string(piece, at, part, &mut self.capture),
            _ => scan_string(piece, at, part, &mut Skip),
        };
        let (state, next) = match scanned {
            Scanned::Closed(end) => (State::Inside, end),
            Scanned::Split(part) => (State::String { of, part }, piece.len()),
            Scanned::Bad(at) => (State::Over, at),
        };
        self.state = state;
        match of {
            Text::Key if state == State::Inside => {
                self.key = match self.capture.end() {
                    Some(b"model") => Some(Key::Model),
                    Some(b"response") => Some(Key::Response),
                    _ => None,
                };
            }
            Text::Model if !self.replaces() => {
                self.key = None;
                kept.resume(next);
            }
            _ => {}
        }
        next
    }
}
