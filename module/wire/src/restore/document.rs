//! A JSON document, looked through for the model's name.

use super::Kept;
use crate::head::{Capture, Part, Scanned, Skip, scan_string};

/// Where in a document a piece ended. It is not checked to be JSON: what is not
/// stays as it is.
#[derive(Debug)]
pub(super) struct Document {
    state: State,
    /// How many objects and arrays are open.
    depth: usize,
    /// The object at depth two is `response`.
    in_response: bool,
    /// A key comes next, in an object where one may be of interest.
    wants_key: bool,
    /// What the last key there names.
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
    /// Behind the object, or in what is none.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A key that may be of interest.
    Key,
    /// The name that is replaced.
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

    /// Begins another document.
    pub(super) fn begin(&mut self) {
        self.state = State::Before;
    }

    /// Leaves the rest of the document as it is.
    pub(super) fn give_up(&mut self) {
        self.state = State::Over;
    }

    /// Whether it stands in the name that is replaced.
    pub(super) fn replaces(&self) -> bool {
        matches!(
            self.state,
            State::String {
                of: Text::Model,
                ..
            }
        )
    }

    /// Takes the bytes from `at` on.
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
