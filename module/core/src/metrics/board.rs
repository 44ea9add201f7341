//! The block as its tables, and how a request is added.

use core::ops::Range;
use core::sync::atomic::{Ordering, compiler_fence};

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use super::day::Day;
use super::http::{CELLS, Cell, Http};
use super::ledger::{Head, KEPT_DAYS, Ledger, Month, Passed, Tag, Use};
use super::record::{Outcome, Record, Request};
use super::row::{Counters, Label, NAME, OTHER, Row, Times};
use super::saved::Identity;
use crate::clients::Quota;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Services,
    Models,
    Pools,
    Keys,
}

impl Table {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Services => "service",
            Self::Models => "model",
            Self::Pools => "pool",
            Self::Keys => "key",
        }
    }
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
    /// How many sums of days there is room for.
    sums: u64,
    /// How many rows of each table are used.
    used: [u64; TABLES.len()],
}

/// A copy of the totals at a moment, without those of days that are over.
pub struct Snapshot {
    words: Vec<u64>,
    rows: usize,
}

impl Snapshot {
    /// The totals.
    pub(super) fn board(&mut self) -> Result<Board<'_>, BoardError> {
        let shape = Shape {
            rows: self.rows,
            sums: 0,
        };
        Board::divide(bytemuck::cast_slice_mut(&mut self.words), shape)
    }
}

/// How many records there are of those whose number depends on the size.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    sums: usize,
}

impl Shape {
    /// A row, and what it had counted when the day began.
    const ROW: usize = size_of::<Row>() + size_of::<Counters>();
    const SUM: usize = size_of::<Tag>() + size_of::<Counters>();
    /// A third of what is left is for the rows of keys.
    const SHARE: usize = 3;

    /// With room for the sums of one day, at least.
    const fn of(size: usize) -> Option<Self> {
        if size < Board::bytes_for(FEWEST_KEYS) {
            return None;
        }
        let least = Board::FIXED + TIMED * (Self::ROW + Self::SUM);
        let keys = (size - least) / Self::SHARE / Self::ROW;
        let rows = TIMED + keys;
        let sums = (size - Board::FIXED - rows * Self::ROW) / Self::SUM;
        Some(Self { rows, sums })
    }

    const fn size(self) -> usize {
        Board::FIXED + self.rows * Self::ROW + self.sums * Self::SUM
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
    pub(super) ledger: Ledger<'a>,
}

impl<'a> Board<'a> {
    const FIXED: usize = size_of::<Header>()
        + size_of::<Journal>()
        + CELLS * size_of::<Cell>()
        + TIMED * size_of::<Times>()
        + size_of::<Head>()
        + size_of::<Identity>()
        + SERVICES * size_of::<Month>();

    /// The bytes that hold the rows of so many keys, and as many sums of days again for
    /// some days.
    #[must_use]
    pub const fn bytes_for(keys: usize) -> usize {
        // A table is used to three quarters.
        let keys = keys + keys.div_ceil(3) + 1;
        Self::FIXED + TIMED * (Shape::ROW + Shape::SUM) + Shape::SHARE * keys * Shape::ROW
    }

    /// Makes empty totals of the bytes, whatever they held.
    ///
    /// # Errors
    /// When they are too few, or not aligned.
    pub fn format(bytes: &'a mut [u8]) -> Result<Self, BoardError> {
        bytes.fill(0);
        let shape = Shape::of(bytes.len()).ok_or(BoardError::TooSmall(bytes.len()))?;
        let board = Self::divide(bytes, shape)?;
        *board.header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            rows: shape.rows as u64,
            sums: shape.sums as u64,
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
        let shape = Shape::of(bytes.len()).ok_or(BoardError::TooSmall(bytes.len()))?;
        let board = Self::divide(bytes, shape)?;
        let header = &board.header;
        let found = (header.magic, header.layout, header.rows, header.sums);
        if found != (MAGIC, LAYOUT, shape.rows as u64, shape.sums as u64) {
            return Err(BoardError::Foreign);
        }
        Ok(board)
    }

    fn divide(bytes: &'a mut [u8], shape: Shape) -> Result<Self, BoardError> {
        let size = bytes.len();
        let (header, rest) = carve::<Header>(bytes, 1)?;
        let (journal, rest) = carve::<Journal>(rest, 1)?;
        let (cells, rest) = carve(rest, CELLS)?;
        let (times, rest) = carve(rest, TIMED)?;
        let (head, rest) = carve::<Head>(rest, 1)?;
        let (identity, rest) = carve::<Identity>(rest, 1)?;
        let (months, rest) = carve(rest, SERVICES)?;
        let (rows, rest) = carve(rest, shape.rows)?;
        let (begun, rest) = carve(rest, shape.rows)?;
        let (tags, rest) = carve(rest, shape.sums)?;
        let (sums, _) = carve(rest, shape.sums)?;
        let (Some(header), Some(journal), Some(head), Some(identity)) = (
            header.first_mut(),
            journal.first_mut(),
            head.first_mut(),
            identity.first_mut(),
        ) else {
            return Err(BoardError::TooSmall(size));
        };
        Ok(Self {
            header,
            journal,
            cells,
            times,
            rows,
            ledger: Ledger {
                head,
                identity,
                months,
                begun,
                tags,
                sums,
            },
        })
    }

    /// A copy of the totals as they are.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let rows = self.rows.len();
        let size = Shape { rows, sums: 0 }.size();
        let mut words = vec![0; size.div_ceil(size_of::<u64>())];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let mut at = 0;
        for part in [
            bytemuck::bytes_of(&*self.header),
            bytemuck::bytes_of(&*self.journal),
            bytemuck::cast_slice(self.cells),
            bytemuck::cast_slice(self.times),
            bytemuck::bytes_of(&*self.ledger.head),
            bytemuck::bytes_of(&*self.ledger.identity),
            bytemuck::cast_slice(self.ledger.months),
            bytemuck::cast_slice(self.rows),
            bytemuck::cast_slice(self.ledger.begun),
        ] {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Snapshot { words, rows }
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
        self.put_back();
        self.ledger.recover(self.rows);
    }

    /// Undoes a change that was not finished.
    fn put_back(&mut self) {
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
        self.turn(record.day);
        self.change(record);
        compiler_fence(Ordering::SeqCst);
        self.journal.valid = 0;
    }

    /// Sees to it that the ledger is at the present day.
    pub(super) fn turn(&mut self, day: Day) {
        if self.ledger.is_over(day) {
            self.ledger.roll(self.rows, day);
        }
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
            self.claim(table, name);
        }
    }

    /// The row of that name, made if there is room, else that of all others.
    pub(super) fn claim(&mut self, table: Table, name: &str) -> usize {
        let Some(label) = Label::new(name).filter(|_| name != OTHER) else {
            return self.range(table).start;
        };
        let at = self.find(table, &label);
        if self.rows[at].label.hash == 0 {
            self.rows[at].label = label;
            self.header.used[table as usize] += 1;
        }
        at
    }

    /// What a service has used on a day, the present one, and in its month: here, and
    /// on other machines. Nothing, if it is not known.
    pub fn used_by(&mut self, service: &str, day: Day) -> (Use, Use) {
        self.turn(day);
        let row = self.known(Table::Services, service);
        row.map_or_else(Default::default, |at| self.ledger.used(at, &self.rows[at]))
    }

    /// The bound that keeps a client from more, if there is one.
    pub fn passed(&mut self, service: &str, quota: &Quota, today: Day) -> Option<Passed> {
        self.turn(today);
        let at = self.known(Table::Services, service)?;
        self.ledger.passed(at, &self.rows[at], quota)
    }

    /// What the services have counted here, by day: on those that are kept, from a day
    /// on, and on the present one.
    pub fn days(&self, since: Day) -> impl Iterator<Item = (Day, &str, Counters)> {
        let over = self
            .ledger
            .sums(false)
            .map(|(day, at, sum)| (day, at, *sum));
        let now = self.range(Table::Services).map(|at| {
            let sum = self.rows[at].counters.since(&self.ledger.begun[at]);
            (self.ledger.today(), at, sum)
        });
        over.chain(now)
            .filter(move |&(day, at, ref sum)| {
                day >= since && at < SERVICES && *sum != Counters::zeroed()
            })
            .map(|(day, at, sum)| (day, self.rows[at].label.name(), sum))
    }

    /// Sets what other machines have counted for a service on a day, whatever was said of
    /// that before. `false` if there is no room for it, or it is of no day that is kept.
    pub fn set_others(&mut self, today: Day, day: Day, service: &str, sum: &Counters) -> bool {
        self.turn(today);
        // Another machine's clock may be ahead, by less than a day.
        if day < today.before(KEPT_DAYS) || day.before(1) > today {
            return false;
        }
        self.introduce(Some(service), None);
        let row = self.known(Table::Services, service);
        row.is_some_and(|at| self.ledger.set_others(self.rows, at, day, sum))
    }

    /// What [`Board::set_others`] has said, of the days from one on.
    pub fn others(&self, since: Day) -> impl Iterator<Item = (Day, &str, &Counters)> {
        let sums = self
            .ledger
            .sums(true)
            .filter(move |&(day, ..)| day >= since);
        sums.map(|(day, at, sum)| (day, self.rows[at].label.name(), sum))
    }

    /// The row of that name, if it has one of its own.
    pub(super) fn known(&self, table: Table, name: &str) -> Option<usize> {
        let label = Label::new(name).filter(|_| name != OTHER)?;
        let at = self.find(table, &label);
        (self.rows[at].label.hash == label.hash).then_some(at)
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
