//! Replaces the model's name in a response by the alias that the client asked for.
//!
//! [`Restorer`] takes the body in pieces cut at any byte and reports for each what to send.
//! Nothing is delayed: all bytes are sent at once except those of the model's name, which
//! is replaced by the alias when its first byte arrives. The name is the string `model` of
//! the object in the body or in the data of an event, and `response.model` in events of the
//! Responses API. Content that is not JSON is left unchanged.

mod document;
mod events;
#[cfg(test)]
mod tests;

use std::ops::Range;

use document::Document;
use events::Events;

/// A part of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes of the piece, unchanged.
    Keep(Range<usize>),
    /// The alias, as a JSON string.
    Name,
}

/// Format of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    Json,
    /// Server-sent events.
    Events,
}

/// Restores the alias in a response.
#[derive(Debug)]
pub struct Restorer {
    document: Document,
    /// The lines of the events, for that format.
    events: Option<Events>,
}

impl Restorer {
    /// A restorer at the start of a response.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            document: Document::new(),
            events: (form == Form::Events).then(Events::default),
        }
    }

    /// Takes the next piece and reports its parts.
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

/// The unchanged bytes of a piece that have not been reported yet.
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

    /// Marks the bytes from here on as replaced.
    fn replace(&mut self, at: usize) {
        self.until(at);
        (self.emit)(Part::Name);
    }

    /// Marks the bytes from here on as unchanged.
    fn resume(&mut self, at: usize) {
        self.from = at;
    }
}
