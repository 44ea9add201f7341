//! The name of an alias in an answer: put in the place of the model's as it streams.
//!
//! [`Restorer`] takes the body in pieces cut at any byte, and tells for each what
//! becomes of it. Nothing is held back: all bytes go on at once but those of the
//! model's name, in whose place the alias's goes when its first byte comes. What is
//! replaced is the string at `model` of the object that the body, or the data of an
//! event, is; and at `response.model`, where the events of the Responses API have it.
//! What is no JSON stays as it is.

mod document;
mod events;
#[cfg(test)]
mod tests;

use std::ops::Range;

use document::Document;
use events::Events;

/// What becomes of a piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes of it stay.
    Keep(Range<usize>),
    /// The name goes here, as a JSON string.
    Name,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    Json,
    /// Server-sent events.
    Events,
}

/// Restores the name in an answer that comes in pieces.
#[derive(Debug)]
pub struct Restorer {
    document: Document,
    /// The lines of the events, if that is the form.
    events: Option<Events>,
}

impl Restorer {
    /// A restorer before the first byte of an answer.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            document: Document::new(),
            events: (form == Form::Events).then(Events::default),
        }
    }

    /// Takes the next piece, and tells what becomes of it.
    pub fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Part)) {
        let mut kept = Kept { from: 0, emit };
        match &mut self.events {
            Some(events) => events.scan(piece, &mut self.document, &mut kept),
            None => self.document.scan(piece, 0, &mut kept),
        }
        if !self.document.replaces() {
            kept.until(piece.len());
        }
    }
}

/// What has been kept of a piece, and not been told yet.
struct Kept<'a> {
    from: usize,
    emit: &'a mut dyn FnMut(Part),
}

impl Kept<'_> {
    fn until(&mut self, end: usize) {
        if self.from < end {
            (self.emit)(Part::Keep(self.from..end));
        }
    }

    /// From here on bytes are replaced.
    fn replace(&mut self, at: usize) {
        self.until(at);
        (self.emit)(Part::Name);
    }

    /// From here on they are kept again.
    fn resume(&mut self, at: usize) {
        self.from = at;
    }
}
