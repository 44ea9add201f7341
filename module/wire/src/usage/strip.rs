//! Removal of the usage chunk from streams whose client has not requested it.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

/// Maximum length of a usage chunk, in bytes. Longer lines are sent.
const LONGEST: usize = 16 * 1024;

static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"choices\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// At the start of a line, or in one that is held back.
    #[default]
    Line,
    /// In a line that is sent.
    Passes,
    /// After the usage chunk: the empty line that ends the event is removed, too.
    Taken,
}

/// Removes events with a usage and without choices from a stream.
///
/// Lines are held back only until their kind is known. Of chunks with choices only the part
/// before the choices is held back.
#[derive(Debug, Default)]
pub struct UsageStripper {
    state: State,
    held: Vec<u8>,
    choices: Choices,
}

/// The output for a piece: `before`, then the first `kept` bytes of the piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// Bytes held back of earlier pieces.
    pub before: Vec<u8>,
    /// Remaining length of the piece.
    pub kept: usize,
}

impl UsageStripper {
    /// Takes the next piece of the stream and moves its remaining bytes to the front.
    pub fn feed(&mut self, piece: &mut [u8]) -> Stripped {
        let mut stripped = Stripped::default();
        let is_whole = self.state == State::Line && self.held.is_empty() && piece.ends_with(b"\n");
        // The common case: whole lines, none of which can be the usage chunk.
        if is_whole && !has_usage(piece) {
            stripped.kept = piece.len();
            return stripped;
        }
        let mut at = 0;
        while at < piece.len() {
            let end = memchr(b'\n', &piece[at..]).map_or(piece.len(), |end| at + end + 1);
            if self.passes(&piece[at..end]) {
                if !self.held.is_empty() {
                    // Only the last line of a piece is held back, so these bytes begin the
                    // first line of this one.
                    stripped.before = core::mem::take(&mut self.held);
                }
                if stripped.kept < at {
                    piece.copy_within(at..end, stripped.kept);
                }
                stripped.kept += end - at;
            }
            at = end;
        }
        stripped
    }

    /// The bytes that are still held back at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.held)
    }

    /// Whether the next bytes of a line are sent, with those held back of it.
    fn passes(&mut self, part: &[u8]) -> bool {
        let whole = part.ends_with(b"\n");
        match self.state {
            State::Taken if matches!(part, b"\n" | b"\r\n") => {
                self.state = State::Line;
                return false;
            }
            State::Taken if part == b"\r" => return false,
            State::Passes => {
                if whole {
                    self.state = State::Line;
                }
                return true;
            }
            State::Taken | State::Line => self.state = State::Line,
        }
        let begun = self.held.len();
        let line = if begun == 0 {
            part
        } else {
            self.held.extend_from_slice(part);
            &self.held
        };
        let action = action(line, whole, &mut self.choices);
        if !matches!(action, LineAction::Undecided) {
            self.choices = Choices::default();
        }
        match action {
            LineAction::Pass => {
                self.held.truncate(begun);
                if !whole {
                    self.state = State::Passes;
                }
                true
            }
            LineAction::Remove => {
                self.held.clear();
                self.state = State::Taken;
                false
            }
            LineAction::Undecided => {
                if begun == 0 {
                    self.held.extend_from_slice(part);
                }
                false
            }
        }
    }
}

enum LineAction {
    /// Send it.
    Pass,
    /// Remove it: it contains the usage that the gateway has requested.
    Remove,
    /// More of the line is needed.
    Undecided,
}

/// The action for a line, of which this is the beginning.
fn action(line: &[u8], whole: bool, choices: &mut Choices) -> LineAction {
    const DATA: &[u8] = b"data:";
    let begun = &line[..DATA.len().min(line.len())];
    if line.len() > LONGEST || !DATA.starts_with(begun) {
        return LineAction::Pass;
    }
    match choices.are_empty(line) {
        Some(true) if whole && has_usage(line) => LineAction::Remove,
        Some(false) => LineAction::Pass,
        _ if whole => LineAction::Pass,
        _ => LineAction::Undecided,
    }
}

/// The search for the first `choices` of a line, which may be received in pieces.
#[derive(Debug, Default)]
struct Choices {
    next: Next,
    /// Number of bytes of the line that need not be read again.
    read: usize,
}

/// What the search looks for.
#[derive(Debug, Default, Clone, Copy)]
enum Next {
    #[default]
    Key,
    Colon,
    Array,
    Item,
}

impl Choices {
    /// Whether they are an empty array; `None` if not known yet. `line` is the line so far.
    fn are_empty(&mut self, line: &[u8]) -> Option<bool> {
        if let Next::Key = self.next {
            let key = CHOICES.needle().len();
            let Some(found) = CHOICES.find(&line[self.read..]) else {
                // The end of the line may be the beginning of the key.
                self.read = self.read.max((line.len() + 1).saturating_sub(key));
                return None;
            };
            self.read += found + key;
            self.next = Next::Colon;
        }
        loop {
            let rest = &line[self.read..];
            self.read += rest.len() - rest.trim_ascii_start().len();
            self.next = match (self.next, *line.get(self.read)?) {
                (Next::Colon, b':') => Next::Array,
                (Next::Array, b'[') => Next::Item,
                (Next::Item, first) => return Some(first == b']'),
                _ => return Some(false),
            };
            self.read += 1;
        }
    }
}

/// Whether the text contains a usage object.
fn has_usage(text: &[u8]) -> bool {
    let mut found = USAGE
        .find_iter(text)
        .map(|at| &text[at + USAGE.needle().len()..]);
    found.any(|rest| {
        let value = rest.trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(b"{"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strip(pieces: &[&[u8]]) -> String {
        let mut stripper = UsageStripper::default();
        let mut out = vec![];
        for piece in pieces {
            let mut piece = piece.to_vec();
            let stripped = stripper.feed(&mut piece);
            out.extend(stripped.before);
            out.extend(&piece[..stripped.kept]);
        }
        out.extend(stripper.finish());
        String::from_utf8(out).expect("text")
    }

    const USAGE_CHUNK: &str =
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    const OTHERS: [&str; 7] = [
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"id\":\"\\\"choices\\\":[]\",\"choices\":[{\"x\":1}],\"usage\":{}}\n\n",
        "data: [DONE]\n\n",
        ": a comment\n\n",
        "event: error\r\ndata: {\"error\":{}}\r\n\r\n",
    ];

    #[test]
    fn the_chunk_with_the_usage_goes_and_nothing_else() {
        let others = OTHERS.concat();
        assert_eq!(strip(&[others.as_bytes()]), others);
        let all = format!("{}{USAGE_CHUNK}{}", OTHERS[0], OTHERS[4]);
        assert_eq!(
            strip(&[all.as_bytes()]),
            format!("{}{}", OTHERS[0], OTHERS[4])
        );
        let spaced = USAGE_CHUNK
            .replace(':', ": ")
            .replace("[]", "[ ]")
            .replace('\n', "\r\n");
        assert_eq!(strip(&[spaced.as_bytes()]), "");
    }

    #[test]
    fn chunks_with_choices_are_not_held_back() {
        let mut stripper = UsageStripper::default();
        let mut piece = *b"data: {\"choices\":[{";
        let kept = stripper.feed(&mut piece).kept;
        assert_eq!(kept, piece.len());
        let mut more = *b"\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"id\":1";
        let stripped = stripper.feed(&mut more);
        assert_eq!(
            &more[..stripped.kept],
            b"\"delta\":{\"content\":\"a\"}}]}\n\n"
        );
        assert_eq!(stripper.finish(), b"data: {\"id\":1");
    }

    #[test]
    fn no_line_is_held_back_for_long() {
        let mut stripper = UsageStripper::default();
        let mut line = b"data: ".to_vec();
        line.resize(2 * LONGEST, b'x');
        assert_eq!(stripper.feed(&mut line).kept, 2 * LONGEST);
    }

    #[test]
    fn the_time_for_a_line_is_linear_in_its_length() {
        let line = |length: usize, filler: u8| {
            let mut line = b"data: ".to_vec();
            if filler == b' ' {
                line.extend_from_slice(b"\"choices\":");
            }
            line.resize(length - 1, filler);
            line.push(b'\n');
            line
        };
        for filler in [b'x', b' '] {
            let (long, short) = (line(LONGEST, filler), line(64, filler).repeat(LONGEST / 64));
            let slowdown = super::super::tests::slowdown(
                |is_long| {
                    let mut stripper = UsageStripper::default();
                    for byte in if is_long { &long } else { &short } {
                        stripper.feed(&mut [*byte]);
                    }
                },
                3,
            );
            assert!(slowdown < 10.0, "{slowdown}");
        }
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same(
            events in prop::collection::vec(0..=OTHERS.len(), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let event = |at: &usize| OTHERS.get(*at).copied().unwrap_or(USAGE_CHUNK);
            let all: String = events.iter().map(event).collect();
            let left: String = events.iter().filter(|&&at| at < OTHERS.len()).map(event).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len() + 1)).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &all.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(strip(&pieces), &*left);
            let bytes: Vec<&[u8]> = all.as_bytes().chunks(1).collect();
            prop_assert_eq!(strip(&bytes), left);
        }
    }
}
