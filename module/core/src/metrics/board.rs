//! The block as its tables, and how a request is added.

use bytemuck::{Pod, Zeroable};
use core::ops::Range;
use thiserror::Error;

use super::day::Day;
use super::http::{CELLS, Cell};
use super::journal::{Additions, Journal, Part, Parts, words};
use super::ledger::{Head, KEPT_DAYS, Ledger, Month, Tag};
use super::record::{Outcome, Record, Request};
use super::row::{Counters, Label, NAME, OTHER, Row, Times, hash, join};
use super::saved::Identity;
use crate::window::Window;

const MAGIC: u64 = u64::from_be_bytes(*b"oaistats");
/// Raised whenever a record changes its shape.
const LAYOUT: u64 = 6;

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

/// The block of totals, opened by whoever holds its mutex.
pub struct Board<'a> {
    header: &'a mut Header,
    journal: &'a mut Journal,
    pub(super) cells: &'a mut [Cell],
    pub(super) times: &'a mut [Times],
    pub(super) rows: &'a mut [Row],
    pub(super) ledger: Ledger<'a>,
    /// When a request of each service last ended, in seconds since 1970.
    pub(super) seen: &'a mut [u64],
    /// The last minute of each row of pools, outside of the journal: a count that a process
    /// leaves half done is gone with that minute.
    pub(super) recent: &'a mut [Window],
}

impl<'a> Board<'a> {
    const FIXED: usize = size_of::<Header>()
        + size_of::<Journal>()
        + CELLS * size_of::<Cell>()
        + TIMED * size_of::<Times>()
        + size_of::<Head>()
        + size_of::<Identity>()
        + SERVICES * (size_of::<Month>() + size_of::<u64>())
        + POOLS * size_of::<Window>();

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
        let (seen, rest) = carve(rest, SERVICES)?;
        let (recent, rest) = carve(rest, POOLS)?;
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
            seen,
            recent,
        })
    }

    /// A copy of the totals as they are.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let rows = self.rows.len();
        let size = Shape { rows, sums: 0 }.size();
        let mut words: Vec<u64> = Vec::with_capacity(size / size_of::<u64>());
        for part in [
            bytemuck::bytes_of(&*self.header),
            bytemuck::bytes_of(&*self.journal),
            bytemuck::cast_slice(self.cells),
            bytemuck::cast_slice(self.times),
            bytemuck::bytes_of(&*self.ledger.head),
            bytemuck::bytes_of(&*self.ledger.identity),
            bytemuck::cast_slice(self.ledger.months),
            bytemuck::cast_slice(self.seen),
            bytemuck::cast_slice(self.recent),
            bytemuck::cast_slice(self.rows),
            bytemuck::cast_slice(self.ledger.begun),
        ] {
            words.extend_from_slice(bytemuck::cast_slice(part));
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
        self.journal.put_back(Parts {
            used: &mut self.header.used,
            cells: self.cells,
            rows: self.rows,
            times: self.times,
        });
    }

    /// Adds a request that has ended.
    pub fn add(&mut self, record: &Record<'_>) {
        self.turn(record.day);
        self.change(record);
        self.journal.close();
    }

    /// Sees to it that the ledger is at the present day.
    pub(super) fn turn(&mut self, day: Day) {
        if self.ledger.is_over(day) {
            self.ledger.roll(self.rows, day);
        }
    }

    /// Changes what is to change, and leaves the journal open.
    pub(super) fn change(&mut self, record: &Record<'_>) {
        if let Some(request) = &record.request {
            let counters = Counters::of(request).more();
            let times = Times::more(request, record.duration_ms);
            for table in TABLES {
                let at = self.place(table, request);
                if table == Table::Pools {
                    self.note_recent(at, request.outcome, record.ended_ms);
                }
                self.add_to_row(at, &counters);
                if let Some(row) = self.times.get_mut(at) {
                    let row = words(row);
                    self.journal.add(Part::Times, at, row, &times);
                }
            }
        }
        if let Some(http) = record.http {
            let cell = words(&mut self.cells[http.cell()]);
            let more = http.more(record.duration_ms);
            self.journal.add(Part::Cell, http.cell(), cell, &more);
        }
    }

    pub(super) fn add_to_row(&mut self, at: usize, counters: &Additions) {
        let row = words(&mut self.rows[at]);
        self.journal.add(Part::Row, at, row, counters);
    }

    /// What was added is whole.
    pub(super) fn close(&mut self) {
        self.journal.close();
    }

    /// The row that a request adds to, made if there is none.
    pub(super) fn place(&mut self, table: Table, request: &Request<'_>) -> usize {
        let mut joined = [0; NAME];
        let name = match table {
            Table::Services => request.service,
            Table::Models => request.model,
            Table::Pools => request.pool,
            Table::Keys => join(&mut joined, request.pool, request.key),
        };
        let first = self.range(table).start;
        if !Label::may_be(name) {
            return first;
        }
        let at = self.find(table, name);
        if self.rows[at].label.hash != 0 {
            return at;
        }
        // Anybody can ask for models that are none.
        let may = table != Table::Models
            || request.known_model
            || request.outcome == Outcome::Success
            || name.is_empty();
        if !may {
            return first;
        }
        self.name(table, at, name);
        at
    }

    /// Gives a free row to a name: its hash is what makes it used.
    fn name(&mut self, table: Table, at: usize, name: &str) {
        let Some(mut label) = Label::new(name) else {
            return;
        };
        let hash = std::mem::take(&mut label.hash);
        let used = &mut self.header.used;
        self.journal
            .set(Part::Used, 0, used, table as usize, |used| used + 1);
        self.rows[at].label = label;
        let row = words(&mut self.rows[at]);
        self.journal.set(Part::Row, at, row, 0, |_| hash);
    }

    /// The row of that name, or a free one for it, or that of all others.
    fn find(&self, table: Table, name: &str) -> usize {
        let range = self.range(table);
        let (first, own) = (range.start, range.start + 1..range.end);
        let hash = hash(name);
        let start = hash as usize % own.len();
        for step in 0..own.len() {
            let at = own.start + (start + step) % own.len();
            let known = &self.rows[at].label;
            if known.hash == hash && known.bytes() == name.as_bytes() {
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
        if !Label::may_be(name) {
            return self.range(table).start;
        }
        let at = self.find(table, name);
        if self.rows[at].label.hash == 0 {
            self.name(table, at, name);
            self.journal.close();
        }
        at
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
        let at = Label::may_be(name).then(|| self.find(table, name))?;
        let label = &self.rows[at].label;
        (label.hash != 0 && label.bytes() == name.as_bytes()).then_some(at)
    }
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
