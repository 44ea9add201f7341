//! Boundaries of stream events.

/// The last bytes of an event stream, to tell whether an event is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventEnd(u32);

impl EventEnd {
    /// The state after this piece of the stream.
    #[must_use]
    pub fn after(self, piece: &[u8]) -> Self {
        let last = &piece[piece.len().saturating_sub(4)..];
        Self(
            last.iter()
                .fold(self.0, |all, &byte| all << 8 | u32::from(byte)),
        )
    }

    /// Whether the stream is between two events.
    #[must_use]
    pub fn is_between(self) -> bool {
        let [first, second, third, fourth] = self.0.to_be_bytes();
        match (third, fourth) {
            // Nothing has been received yet.
            (0, 0) => true,
            (b'\n', b'\n') | (b'\r', b'\r') => true,
            (b'\r', b'\n') => second == b'\n' || (first, second) == (b'\r', b'\n'),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_line_ends_an_event_however_the_stream_is_cut() {
        for (stream, between) in [
            ("", true),
            ("data: a\n\n", true),
            ("data: a\r\n\r\n", true),
            ("data: a\r\r", true),
            ("data: a\n\r\n", true),
            ("data: a", false),
            ("data: a\n", false),
            ("data: a\r\n", false),
            ("data: a\n\ndata", false),
            ("data: a\n\n:\n", false),
        ] {
            for size in 1..=stream.len().max(1) {
                let pieces = stream.as_bytes().chunks(size);
                let end = pieces.fold(EventEnd::default(), |end, piece| end.after(piece));
                assert_eq!(end.is_between(), between, "{stream:?} by {size}");
            }
        }
    }
}
