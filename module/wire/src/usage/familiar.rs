//! Reuse of search results: events of a stream differ mostly in their text, so an unchanged part
//! need not be searched again.

/// Maximum stored length of a line.
const LONGEST: usize = 1024;

/// The parts around the text in the lines of a stream.
///
/// At the beginning of a line, the result of the search depends only on the bytes of the
/// line; after a text, only on the bytes that follow. So a line with a known beginning has
/// its text at the same position, and a known rest contains no relevant key.
#[derive(Debug, Default)]
pub(super) struct Familiar {
    /// From the beginning of a line to the beginning of its first text.
    before: Vec<u8>,
    /// From the end of the text to the end of its line.
    after: Vec<u8>,
    /// Whether a line begins with the next byte.
    begins: bool,
    /// Where the current line began in this piece, if nothing relevant has been found in it.
    line: Option<usize>,
    /// Where the text ended in this piece, if nothing relevant has been found after it.
    text: Option<usize>,
}

impl Familiar {
    /// Discards the stored parts.
    pub(super) fn forget(&mut self) {
        self.before.clear();
        self.after.clear();
    }

    /// Another piece of the stream begins.
    pub(super) fn next_piece(&mut self) {
        self.line = None;
        self.text = None;
    }

    /// Something relevant was found.
    pub(super) fn matters(&mut self) {
        self.line = None;
        self.text = None;
    }

    /// If `at` begins a line with the stored beginning: where its text begins.
    pub(super) fn line(&mut self, piece: &[u8], at: usize) -> Option<usize> {
        if !std::mem::take(&mut self.begins) {
            return None;
        }
        if !self.before.is_empty() && piece[at..].starts_with(&self.before) {
            return Some(at + self.before.len());
        }
        self.line = Some(at);
        None
    }

    /// Text begins at `at`, after a search.
    pub(super) fn text_begins(&mut self, piece: &[u8], at: usize) {
        if let Some(line) = self.line {
            learn(&mut self.before, &piece[line..at]);
        }
        self.matters();
    }

    /// Text has ended; returns where to continue.
    pub(super) fn text_ends(&mut self, piece: &[u8], at: usize) -> usize {
        if !self.after.is_empty() && piece[at..].starts_with(&self.after) {
            self.begins = true;
            return at + self.after.len();
        }
        self.text = Some(at);
        at
    }

    /// A search has reached the end of a line.
    pub(super) fn line_ends(&mut self, piece: &[u8], at: usize) {
        if let Some(text) = self.text.take() {
            learn(&mut self.after, &piece[text..at]);
        }
        self.line = None;
        self.begins = true;
    }
}

fn learn(known: &mut Vec<u8>, bytes: &[u8]) {
    known.clear();
    if bytes.len() <= LONGEST {
        known.extend_from_slice(bytes);
    }
}
