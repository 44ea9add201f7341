//! Events of a stream are much the same but for their text: what has been searched in one
//! need not be searched in the next.

/// No more than so much of a line is kept.
const LONGEST: usize = 1024;

/// What stands around the text in the lines of a stream.
///
/// What a scanner makes of a line depends on nothing but its bytes when it begins the line
/// in a search; and of the rest of the line, when it begins that in a search. So a line
/// that begins as another did has its text in the same place, and a rest that was of no
/// matter is of none again.
#[derive(Debug, Default)]
pub(super) struct Familiar {
    /// From the beginning of a line to that of its first text.
    before: Vec<u8>,
    /// From the end of the text to the end of the event.
    after: Vec<u8>,
    /// A line begins with the next byte.
    begins: bool,
    /// Where, in this piece, the line began in which nothing that matters has come yet.
    line: Option<usize>,
    /// Where, in this piece, the text ended after which nothing has come that matters.
    text: Option<usize>,
}

impl Familiar {
    /// What was learnt does not hold any more.
    pub(super) fn forget(&mut self) {
        self.before.clear();
        self.after.clear();
    }

    /// Another piece of the stream comes.
    pub(super) fn next_piece(&mut self) {
        self.line = None;
        self.text = None;
    }

    /// Something has come that changes what is known of the answer.
    pub(super) fn matters(&mut self) {
        self.line = None;
        self.text = None;
    }

    /// At a search: where its text begins, if `at` begins a line that is familiar.
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

    /// Text begins at `at`, which has been searched for.
    pub(super) fn text_begins(&mut self, piece: &[u8], at: usize) {
        if let Some(line) = self.line {
            learn(&mut self.before, &piece[line..at]);
        }
        self.matters();
    }

    /// Text has ended, and its quote; where to go on.
    pub(super) fn text_ends(&mut self, piece: &[u8], at: usize) -> usize {
        if !self.after.is_empty() && piece[at..].starts_with(&self.after) {
            self.begins = true;
            return at + self.after.len();
        }
        self.text = Some(at);
        at
    }

    /// A search has come to the end of a line.
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
