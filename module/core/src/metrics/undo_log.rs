//! Undo log for atomic changes of the metrics. The old value of each word is recorded before it
//! is changed, and restored if the process dies before the change is complete.

use core::sync::atomic::{Ordering, compiler_fence};

use bytemuck::{Pod, Zeroable};

use super::histogram::Histogram;
use super::http::Cell;
use super::row::{Counters, Row, Times};

/// Maximum number of words that one request changes: a cell, and in each table a row and its
/// times.
const MOST: usize = 128;

/// The table of a changed word.
#[derive(Clone, Copy)]
pub(super) enum UndoTarget {
    Used,
    Cell,
    Row,
    Times,
}

/// The old value of a word.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UndoEntry {
    /// MetricsTable, record and word.
    place: u64,
    was: u64,
}

impl UndoEntry {
    const fn new(part: UndoTarget, record: usize, word: usize, was: u64) -> Self {
        let place = (part as u64) << 48 | (record as u64) << 16 | word as u64;
        Self { place, was }
    }
}

/// Amounts to be added to the words of a record.
#[derive(Default)]
pub(super) struct Additions {
    count: usize,
    list: [(usize, u64); size_of::<Counters>() / size_of::<u64>()],
}

impl Additions {
    /// Adds an amount for a word.
    pub(super) fn push(&mut self, word: usize, more: u64) {
        if more > 0
            && let Some(place) = self.list.get_mut(self.count)
        {
            *place = (word, more);
            self.count += 1;
        }
    }

    /// Adds a duration to the histogram that begins at a word.
    pub(super) fn push_time(&mut self, first: usize, ms: u64) {
        self.push(first + Histogram::word(ms), 1);
        self.push(first + Histogram::WORDS - 1, ms);
    }
}

/// The entries of the current change.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct UndoLog {
    count: u64,
    notes: [UndoEntry; MOST],
}

/// The tables that a change can affect.
pub(super) struct Parts<'a> {
    pub(super) used: &'a mut [u64],
    pub(super) cells: &'a mut [Cell],
    pub(super) rows: &'a mut [Row],
    pub(super) times: &'a mut [Times],
}

impl UndoLog {
    /// Adds amounts to words of a record.
    pub(super) fn add(
        &mut self,
        part: UndoTarget,
        record: usize,
        words: &mut [u64],
        additions: &Additions,
    ) {
        for &(word, more) in &additions.list[..additions.count] {
            self.set(part, record, words, word, |was| was.saturating_add(more));
        }
    }

    /// Changes a word of a record.
    pub(super) fn set(
        &mut self,
        part: UndoTarget,
        record: usize,
        words: &mut [u64],
        word: usize,
        change: impl FnOnce(u64) -> u64,
    ) {
        let note = self.notes.get_mut(self.count as usize);
        let (Some(note), Some(place)) = (note, words.get_mut(word)) else {
            return;
        };
        *note = UndoEntry::new(part, record, word, *place);
        // Only the compiler must not reorder: after the death of a process its writes appear in
        // program order.
        compiler_fence(Ordering::SeqCst);
        self.count += 1;
        compiler_fence(Ordering::SeqCst);
        *place = change(*place);
    }

    /// Completes the change.
    pub(super) fn close(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.count = 0;
    }

    /// Reverts an incomplete change.
    pub(super) fn put_back(&mut self, parts: Parts<'_>) {
        let count = (self.count as usize).min(MOST);
        for note in self.notes[..count].iter().rev() {
            let record = (note.place >> 16) as u32 as usize;
            let words = match note.place >> 48 {
                p if p == UndoTarget::Used as u64 => Some(&mut *parts.used),
                p if p == UndoTarget::Cell as u64 => parts.cells.get_mut(record).map(words),
                p if p == UndoTarget::Row as u64 => parts.rows.get_mut(record).map(words),
                p if p == UndoTarget::Times as u64 => parts.times.get_mut(record).map(words),
                _ => None,
            };
            let word = words.and_then(|words| words.get_mut(note.place as u16 as usize));
            if let Some(word) = word {
                *word = note.was;
            }
        }
        self.close();
    }
}

/// A record as words.
pub(super) fn words<T: Pod>(record: &mut T) -> &mut [u64] {
    bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(record))
}
