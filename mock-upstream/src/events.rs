//! The events of a stream, whatever they report.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::chunks::Chunks;

pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// When an event is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// With the one before.
    Now,
    /// When this word is due.
    Word(u32),
    /// So long after the start.
    At(Duration),
}

/// A stream's events in order.
#[derive(Debug)]
pub(crate) enum Events {
    /// Made one by one.
    Chat(Chunks),
    /// Made beforehand.
    List(List),
}

/// Events with their times.
#[derive(Debug, Default)]
pub(crate) struct List {
    events: VecDeque<(Due, Bytes)>,
    /// How many words have left.
    words: u64,
}

impl List {
    pub(crate) fn push(&mut self, due: Due, event: impl Into<Bytes>) {
        self.events.push_back((due, event.into()));
    }
}

impl Events {
    /// When the next event is due; none when there is none.
    pub(crate) fn due(&self) -> Option<Due> {
        match self {
            Self::Chat(chunks) => chunks.due(),
            Self::List(list) => list.events.front().map(|(due, _)| *due),
        }
    }

    /// Writes the next event.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Chat(chunks) => chunks.write_next(out),
            Self::List(list) => {
                if let Some((due, event)) = list.events.pop_front() {
                    list.words += u64::from(matches!(due, Due::Word(_)));
                    out.extend_from_slice(&event);
                }
            }
        }
    }

    /// About how many bytes the stream has.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Chat(chunks) => chunks.size(),
            Self::List(list) => list.events.iter().map(|(_, event)| event.len()).sum(),
        }
    }

    /// How many words have been taken.
    pub(crate) fn words(&self) -> u64 {
        match self {
            Self::Chat(chunks) => chunks.words_taken(),
            Self::List(list) => list.words,
        }
    }

    /// Leaves out `data: [DONE]`.
    pub(crate) fn without_done(&mut self) {
        match self {
            Self::Chat(chunks) => chunks.without_done(),
            Self::List(list) => {
                if list.events.back().is_some_and(|(_, event)| event == DONE) {
                    list.events.pop_back();
                }
            }
        }
    }

    /// All that is left, in one piece.
    pub(crate) fn collect(mut self) -> Bytes {
        let mut all = Vec::new();
        while self.due().is_some() {
            self.write_next(&mut all);
        }
        all.into()
    }
}
