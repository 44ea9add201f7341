//! Lines of an event stream.

use memchr::memchr2;

use super::Kept;
use super::document::Document;

const FIELD: &[u8] = b"data:";

/// Position within a line at the end of a piece.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// After that many bytes of `data:`.
    Begins(usize),
    /// In its data.
    Data,
    /// In any other field.
    Other,
}

/// The lines of an event stream, whose data are JSON documents.
#[derive(Debug)]
pub(super) struct Events {
    line: Line,
    /// Whether the last byte was a carriage return, so that a line feed belongs to it.
    after_return: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            line: Line::Begins(0),
            after_return: false,
        }
    }
}

impl Events {
    pub(super) fn scan(&mut self, piece: &[u8], document: &mut Document, kept: &mut Kept<'_>) {
        let mut at = 0;
        while at < piece.len() {
            if std::mem::take(&mut self.after_return) && piece[at] == b'\n' {
                at += 1;
                continue;
            }
            let end = memchr2(b'\n', b'\r', &piece[at..]).map(|length| at + length);
            self.content(&piece[..end.unwrap_or(piece.len())], at, document, kept);
            let Some(end) = end else { return };
            if document.replaces() {
                // A string cannot continue on the next line.
                document.give_up();
                kept.resume(end);
            }
            if matches!(self.line, Line::Begins(0)) {
                // An empty line ends the event.
                document.begin();
            }
            self.line = Line::Begins(0);
            self.after_return = piece[end] == b'\r';
            at = end + 1;
        }
    }

    /// Scans the content of a line from `at` on.
    fn content(
        &mut self,
        line: &[u8],
        mut at: usize,
        document: &mut Document,
        kept: &mut Kept<'_>,
    ) {
        while let (Line::Begins(matched), Some(&byte)) = (self.line, line.get(at)) {
            self.line = match matched + 1 {
                _ if byte != FIELD[matched] => Line::Other,
                5 => Line::Data,
                matched => Line::Begins(matched),
            };
            at += 1;
        }
        if matches!(self.line, Line::Data) {
            document.scan(line, at, kept);
        }
    }
}
