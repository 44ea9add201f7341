//! Search for the model's name in a JSON document.

use super::Kept;
use crate::json::{JsonFault, JsonKind, Reader, Tokenizer};

const LONGEST: usize = b"response".len();

/// State of a document between pieces. The document is not validated; everything but the
/// names is left unchanged.
#[derive(Debug)]
pub(super) struct Document {
    json: Tokenizer<LONGEST>,
    place: Place,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The last key of interest.
    key: Option<Key>,
    /// Whether the object at depth two is `response`.
    in_response: bool,
    /// Whether the scan is within the replaced name.
    replaces: bool,
    /// Whether the object has ended, or the document is invalid or not an object.
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Model,
    Response,
}

impl Document {
    pub(super) fn new() -> Self {
        Self {
            json: Tokenizer::new(),
            place: Place::default(),
        }
    }

    /// Begins a new document.
    pub(super) fn begin(&mut self) {
        self.json.restart();
        self.place = Place::default();
    }

    /// Leaves the rest of the document unchanged.
    pub(super) fn give_up(&mut self) {
        self.json.give_up();
        self.place.replaces = false;
    }

    /// Whether the scan is within the replaced name.
    pub(super) fn replaces(&self) -> bool {
        self.place.replaces
    }

    /// Scans the bytes from `at` on.
    pub(super) fn scan(&mut self, piece: &[u8], at: usize, kept: &mut Kept<'_>) {
        let place = &mut self.place;
        self.json.feed(piece, at, &mut Names { place, kept });
        if self.place.over {
            self.give_up();
        }
    }
}

/// Replaces the names in a piece.
struct Names<'a, 'b> {
    place: &'a mut Place,
    kept: &'a mut Kept<'b>,
}

impl Reader for Names<'_, '_> {
    fn wants_key(&mut self, depth: usize) -> bool {
        !self.place.over && (depth == 1 || (depth == 2 && self.place.in_response))
    }

    fn key(&mut self, key: Option<&[u8]>, _depth: usize) {
        self.place.key = match key {
            Some(b"model") => Some(Key::Model),
            Some(b"response") => Some(Key::Response),
            _ => None,
        };
    }

    fn value(&mut self, kind: JsonKind, depth: usize, at: usize) -> bool {
        let key = self.place.key.take().filter(|_| !self.place.over);
        if depth == 1 {
            self.place.in_response = (key, kind) == (Some(Key::Response), JsonKind::Object);
        }
        self.place.replaces = (key, kind) == (Some(Key::Model), JsonKind::String);
        if self.place.replaces {
            self.kept.replace(at);
        }
        self.place.replaces
    }

    fn string(&mut self, _text: Option<&[u8]>, end: usize) {
        if std::mem::take(&mut self.place.replaces) {
            self.kept.resume(end);
        }
    }

    fn close(&mut self, depth: usize) {
        self.place.over |= depth == 0;
    }

    fn fault(&mut self, fault: JsonFault) {
        let (JsonFault::Malformed(at) | JsonFault::TooDeep(at)) = fault;
        self.place.over = true;
        if std::mem::take(&mut self.place.replaces) {
            self.kept.resume(at);
        }
    }
}
