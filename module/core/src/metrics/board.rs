//! The block as its tables, and how a request is added.

use core::ops::Range;
use core::sync::atomic::{Ordering, compiler_fence};

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use super::http::{CELLS, Cell, Http};
use super::record::{Outcome, Record, Request};
use super::row::{Label, NAME, OTHER, Row, Times};

const MAGIC: u64 = u64::from_be_bytes(*b"oaistats");
/// Raised whenever a record changes its shape.
const LAYOUT: u64 = 2;

const SERVICES: usize = 256;
const MODELS: usize = 128;
const POOLS: usize = 256;
/// Rows with times.
const TIMED: usize = SERVICES + MODELS + POOLS;
const FEWEST_KEYS: usize = 16;

/// The tables that a request adds to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Services,
    Models,
    Pools,
    Keys,
}

pub(super) const TABLES: [Table; 4] = [Table::Services, Table::Models, Table::Pools, Table::Keys];

/// Why the bytes are no block of totals.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BoardError {
    /// Too few bytes.
    #[error("{0} bytes are too few, {least} are needed", least = Board::bytes_for(FEWEST_KEYS))]
    TooSmall(usize),
    /// Another program's bytes, or another version's.
    #[error("it was made by another version of the module")]
    Foreign,
    /// The bytes do not begin on an eight-byte boundary.
    #[error("it is not aligned")]
    Misaligned,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: u64,
    layout: u64,
    rows: u64,
    /// How many rows of each table are used.
    used: [u64; TABLES.len()],
}

/// A copy of the totals at a moment.
pub struct Snapshot(Vec<u64>);

impl Snapshot {
    /// The totals.
    pub(super) fn board(&mut self) -> Result<Board<'_>, BoardError> {
        Board::open(bytemuck::cast_slice_mut(&mut self.0))
    }
}

/// What is being changed, as it was before.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Journal {
    /// Whether it has to be put back.
    valid: u64,
    http: u64,
    cell: Cell,
    at: [u64; TABLES.len()],
    rows: [Row; TABLES.len()],
    times: [Times; TABLES.len()],
    used: [u64; TABLES.len()],
}

/// No cell, no row.
const NONE: u64 = u64::MAX;

/// The block of totals, opened by whoever holds its mutex.
pub struct Board<'a> {
    header: &'a mut Header,
    journal: &'a mut Journal,
    pub(super) cells: &'a mut [Cell],
    pub(super) times: &'a mut [Times],
    pub(super) rows: &'a mut [Row],
}

impl<'a> Board<'a> {
    /// The bytes that hold the rows of so many keys.
    #[must_use]
    pub const fn bytes_for(keys: usize) -> usize {
        // A table is used to three quarters.
        let keys = keys + keys.div_ceil(3) + 1;
        size_of::<Header>()
            + size_of::<Journal>()
            + CELLS * size_of::<Cell>()
            + TIMED * size_of::<Times>()
            + (TIMED + keys) * size_of::<Row>()
    }

    /// Makes empty totals of the bytes, whatever they held.
    ///
    /// # Errors
    /// When they are too few, or not aligned.
    pub fn format(bytes: &'a mut [u8]) -> Result<Self, BoardError> {
        bytes.fill(0);
        let board = Self::divide(bytes)?;
        *board.header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            rows: board.rows.len() as u64,
            used: [0; TABLES.len()],
        };
        for table in TABLES {
            let first = board.range(table).start;
            if let Some(label) = Label::new(OTHER) {
                board.rows[first].label = label;
            }
        }
        Ok(board)
    }

    /// Opens totals that [`Board::format`] made of the same bytes.
    ///
    /// # Errors
    /// When they are another program's.
    pub fn open(bytes: &'a mut [u8]) -> Result<Self, BoardError> {
        let board = Self::divide(bytes)?;
        let header = &board.header;
        let rows = board.rows.len() as u64;
        if (header.magic, header.layout, header.rows) != (MAGIC, LAYOUT, rows) {
            return Err(BoardError::Foreign);
        }
        Ok(board)
    }

    fn divide(bytes: &'a mut [u8]) -> Result<Self, BoardError> {
        let size = bytes.len();
        if size < Self::bytes_for(FEWEST_KEYS) {
            return Err(BoardError::TooSmall(size));
        }
        let (header, rest) = carve::<Header>(bytes, 1)?;
        let (journal, rest) = carve::<Journal>(rest, 1)?;
        let (cells, rest) = carve(rest, CELLS)?;
        let (times, rest) = carve(rest, TIMED)?;
        let rows = rest.len() / size_of::<Row>();
        let (rows, _) = carve(rest, rows)?;
        let (Some(header), Some(journal)) = (header.first_mut(), journal.first_mut()) else {
            return Err(BoardError::TooSmall(size));
        };
        Ok(Self {
            header,
            journal,
            cells,
            times,
            rows,
        })
    }

    /// A copy of the totals as they are.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut words: Vec<u64> = Vec::with_capacity(self.size() / size_of::<u64>());
        for part in [
            bytemuck::bytes_of(&*self.header),
            bytemuck::bytes_of(&*self.journal),
            bytemuck::cast_slice(self.cells),
            bytemuck::cast_slice(self.times),
            bytemuck::cast_slice(self.rows),
        ] {
            words.extend_from_slice(bytemuck::cast_slice(part));
        }
        Snapshot(words)
    }

    fn size(&self) -> usize {
        size_of::<Header>()
            + size_of::<Journal>()
            + size_of_val(self.cells)
            + size_of_val(self.times)
            + size_of_val(self.rows)
    }

    /// The rows of a table; the first is that of all others.
    pub(super) fn range(&self, table: Table) -> Range<usize> {
        match table {
            Table::Services => 0..SERVICES,
            Table::Models => SERVICES..SERVICES + MODELS,
            Table::Pools => SERVICES + MODELS..TIMED,
            Table::Keys => TIMED..self.rows.len(),
        }
    }

    /// Makes whole what a process that died left half done.
    pub fn recover(&mut self) {
        let journal = &*self.journal;
        if journal.valid == 0 {
            return;
        }
        if let Some(cell) = self.cells.get_mut(journal.http as usize) {
            *cell = journal.cell;
        }
        for (slot, &at) in journal.at.iter().enumerate() {
            if let Some(row) = self.rows.get_mut(at as usize) {
                *row = journal.rows[slot];
            }
            if let Some(times) = self.times.get_mut(at as usize) {
                *times = journal.times[slot];
            }
        }
        self.header.used = journal.used;
        self.journal.valid = 0;
    }

    /// Adds a request that has ended.
    pub fn add(&mut self, record: &Record<'_>) {
        self.change(record);
        compiler_fence(Ordering::SeqCst);
        self.journal.valid = 0;
    }

    /// Notes what is to change, and changes it.
    pub(super) fn change(&mut self, record: &Record<'_>) {
        let mut at = [NONE; TABLES.len()];
        let mut labels = [Label::zeroed(); TABLES.len()];
        if let Some(request) = &record.request {
            for (slot, table) in TABLES.into_iter().enumerate() {
                let (row, label) = self.place(table, request);
                at[slot] = row as u64;
                labels[slot] = label;
            }
        }
        self.note(at, record.http);
        for (slot, &row) in at.iter().enumerate() {
            let (Some(row_at), Some(request)) = (usize::try_from(row).ok(), &record.request) else {
                continue;
            };
            if let Some(row) = self.rows.get_mut(row_at) {
                if row.label.hash == 0 {
                    row.label = labels[slot];
                    self.header.used[slot] += 1;
                }
                row.counters.add(request);
            }
            if let Some(times) = self.times.get_mut(row_at) {
                times.add(request, record.duration_ms);
            }
        }
        if let Some(http) = record.http {
            let cell = &mut self.cells[http.cell()];
            cell.statuses[http.status()] += 1;
            cell.duration.add(record.duration_ms);
        }
    }

    /// Notes how things are before they are changed.
    fn note(&mut self, at: [u64; TABLES.len()], http: Option<Http>) {
        let journal = &mut *self.journal;
        journal.at = at;
        journal.used = self.header.used;
        journal.http = NONE;
        if let Some(http) = http {
            journal.http = http.cell() as u64;
            journal.cell = self.cells[http.cell()];
        }
        for (slot, &at) in at.iter().enumerate() {
            if let Some(row) = self.rows.get(at as usize) {
                journal.rows[slot] = *row;
            }
            if let Some(times) = self.times.get(at as usize) {
                journal.times[slot] = *times;
            }
        }
        compiler_fence(Ordering::SeqCst);
        journal.valid = 1;
        compiler_fence(Ordering::SeqCst);
    }

    /// The row that a request adds to, and its label.
    fn place(&self, table: Table, request: &Request<'_>) -> (usize, Label) {
        let mut joined = [0; NAME];
        let name = match table {
            Table::Services => request.service,
            Table::Models => request.model,
            Table::Pools => request.pool,
            Table::Keys => join(&mut joined, request.pool, request.key),
        };
        let first = self.range(table).start;
        let Some(label) = Label::new(name).filter(|_| name != OTHER) else {
            return (first, Label::zeroed());
        };
        let found = self.find(table, &label);
        let claims = self.rows[found].label.hash == 0;
        // Anybody can ask for models that are none.
        let may = table != Table::Models
            || request.known_model
            || request.outcome == Outcome::Success
            || name.is_empty();
        if claims && !may {
            return (first, Label::zeroed());
        }
        (found, label)
    }

    /// The row of that name, or a free one for it, or that of all others.
    fn find(&self, table: Table, label: &Label) -> usize {
        let range = self.range(table);
        let (first, own) = (range.start, range.start + 1..range.end);
        let start = label.hash as usize % own.len();
        for step in 0..own.len() {
            let at = own.start + (start + step) % own.len();
            let known = &self.rows[at].label;
            if known.hash == label.hash && known.name() == label.name() {
                return at;
            }
            if known.hash == 0 {
                let full = self.header.used[table as usize] as usize >= own.len() * 3 / 4;
                return if full { first } else { at };
            }
        }
        first
    }

    /// The rows of a table that are used.
    pub(super) fn used(&self, table: Table) -> impl Iterator<Item = (&Row, Option<&Times>)> {
        let (range, other) = (self.range(table), self.range(table).start);
        let rows = range.map(|at| (at, &self.rows[at], self.times.get(at)));
        rows.filter(move |(at, row, _)| {
            let counts = row.counters.requests.iter().any(|&n| n > 0);
            row.label.hash != 0 && (*at != other || counts)
        })
        .map(|(_, row, times)| (row, times))
    }

    /// Sees to it that what the configuration names has rows, of zeros at first.
    pub fn introduce(&mut self, service: Option<&str>, pool_and_key: Option<(&str, &str)>) {
        let mut joined = [0; NAME];
        let mut names = vec![];
        names.extend(service.map(|name| (Table::Services, name)));
        if let Some((pool, key)) = pool_and_key {
            names.push((Table::Pools, pool));
            names.push((Table::Keys, join(&mut joined, pool, key)));
        }
        for (table, name) in names {
            let Some(label) = Label::new(name).filter(|_| name != OTHER) else {
                continue;
            };
            let at = self.find(table, &label);
            if self.rows[at].label.hash == 0 {
                self.rows[at].label = label;
                self.header.used[table as usize] += 1;
            }
        }
    }
}

/// A key's name: that of its pool, a slash, its own.
fn join<'a>(room: &'a mut [u8; NAME], pool: &str, key: &str) -> &'a str {
    let mut length = 0;
    for part in [pool, "/", key] {
        let Some(place) = room.get_mut(length..length + part.len()) else {
            return OTHER;
        };
        place.copy_from_slice(part.as_bytes());
        length += part.len();
    }
    str::from_utf8(&room[..length]).unwrap_or(OTHER)
}

fn carve<T: Pod>(bytes: &mut [u8], count: usize) -> Result<(&mut [T], &mut [u8]), BoardError> {
    let size = count * size_of::<T>();
    if size > bytes.len() {
        return Err(BoardError::TooSmall(bytes.len()));
    }
    let (head, rest) = bytes.split_at_mut(size);
    let records = bytemuck::try_cast_slice_mut(head).map_err(|_| BoardError::Misaligned)?;
    Ok((records, rest))
}
