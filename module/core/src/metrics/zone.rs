//! The metrics zone: its tables, and how a request is added.

use bytemuck::{Pod, Zeroable};
use core::ops::Range;
use thiserror::Error;

use super::daily::{DailyState, DailyStats, ServiceMonth, SumTag};
use super::day::Day;
use super::http::{CELLS, Cell};
use super::record::{Outcome, PoolRequest, Record};
use super::row::{Counters, Label, NAME, OTHER, Row, Times, hash, join};
use super::snapshot::SnapshotIdentity;
use super::words::{add, fence};
use crate::window::Window;

const MAGIC: u64 = u64::from_be_bytes(*b"oaistats");
/// Increased whenever the layout of a record changes.
const LAYOUT: u64 = 9;

const SERVICES: usize = 256;
/// Number of services that certainly have a row of their own, when all are introduced first.
pub const MAX_SERVICES: usize = (SERVICES - 1) * 3 / 4 - 1;
const MODELS: usize = 128;
const POOLS: usize = 256;
/// Number of rows with histograms.
const TIMED: usize = SERVICES + MODELS + POOLS;
const FEWEST_KEYS: usize = 16;

/// The tables that a request adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsTable {
    Services,
    Models,
    Pools,
    Keys,
}

impl MetricsTable {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Services => "service",
            Self::Models => "model",
            Self::Pools => "pool",
            Self::Keys => "key",
        }
    }
}

pub(super) const TABLES: [MetricsTable; 4] = [
    MetricsTable::Services,
    MetricsTable::Models,
    MetricsTable::Pools,
    MetricsTable::Keys,
];

/// Why the bytes are not a metrics zone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MetricsZoneError {
    /// Too few bytes.
    #[error("{0} bytes are too few, {least} are needed", least = MetricsZone::bytes_for(FEWEST_KEYS))]
    TooSmall(usize),
    /// Written by another program or another version.
    #[error("it was created by another version of the module")]
    Foreign,
    /// The bytes do not begin on an eight-byte boundary.
    #[error("it is not aligned")]
    Misaligned,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MetricsHeader {
    magic: u64,
    layout: u64,
    rows: u64,
    /// Capacity of stored sums per day.
    sums: u64,
    /// Number of named rows by table, without `other`.
    used: [u64; TABLES.len()],
}

/// The records whose numbers do not depend on the zone's size.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FixedRecords {
    cells: [Cell; CELLS],
    times: [Times; TIMED],
    head: DailyState,
    identity: SnapshotIdentity,
    months: [ServiceMonth; SERVICES],
    seen: [u64; SERVICES],
    recent: [Window; POOLS],
}

/// A copy of the metrics without earlier days.
pub struct MetricsCopy {
    words: Vec<u64>,
    rows: usize,
}

impl MetricsCopy {
    /// Copies the bytes of a zone without the sums by day, which are last.
    ///
    /// # Errors
    /// When another program or version created the zone.
    pub fn of(bytes: &mut [u8]) -> Result<Self, MetricsZoneError> {
        let rows = MetricsZone::open(bytes)?.rows.len();
        let size = Shape { rows, sums: 0 }.size();
        let words = bytemuck::cast_slice(&bytes[..size]).to_vec();
        Ok(Self { words, rows })
    }

    /// The copied metrics.
    ///
    /// # Errors
    /// When the copied bytes are not those of a zone.
    pub fn metrics(&mut self) -> Result<MetricsZone<'_>, MetricsZoneError> {
        let shape = Shape {
            rows: self.rows,
            sums: 0,
        };
        MetricsZone::divide(bytemuck::cast_slice_mut(&mut self.words), shape)
    }
}

/// Numbers of records that depend on the zone's size.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    sums: usize,
}

impl Shape {
    /// A row, and what it had counted when the day began.
    const ROW: usize = size_of::<Row>() + size_of::<Counters>();
    const SUM: usize = size_of::<SumTag>() + size_of::<Counters>();
    /// A third of the remaining size is for rows of keys.
    const SHARE: usize = 3;

    /// With room for the sums of at least one day.
    const fn of(size: usize) -> Option<Self> {
        if size < MetricsZone::bytes_for(FEWEST_KEYS) {
            return None;
        }
        let least = MetricsZone::FIXED + TIMED * (Self::ROW + Self::SUM);
        let keys = (size - least) / Self::SHARE / Self::ROW;
        let rows = TIMED + keys;
        let sums = (size - MetricsZone::FIXED - rows * Self::ROW) / Self::SUM;
        Some(Self { rows, sums })
    }

    const fn size(self) -> usize {
        MetricsZone::FIXED + self.rows * Self::ROW + self.sums * Self::SUM
    }
}

/// The metrics zone, opened by the holder of its mutex.
pub struct MetricsZone<'a> {
    header: &'a mut MetricsHeader,
    pub(super) cells: &'a mut [Cell],
    pub(super) times: &'a mut [Times],
    pub(super) rows: &'a mut [Row],
    pub(super) daily: DailyStats<'a>,
    /// Time of the last request of each service, in seconds since 1970.
    pub(super) seen: &'a mut [u64],
    /// Windows of the last minute by pool row.
    pub(super) recent: &'a mut [Window],
}

impl<'a> MetricsZone<'a> {
    const FIXED: usize = size_of::<MetricsHeader>() + size_of::<FixedRecords>();

    /// Size of a zone with rows for that many keys and sums of some days.
    #[must_use]
    pub const fn bytes_for(keys: usize) -> usize {
        // A table is filled up to three quarters.
        let keys = keys + keys.div_ceil(3) + 1;
        Self::FIXED + TIMED * (Shape::ROW + Shape::SUM) + Shape::SHARE * keys * Shape::ROW
    }

    /// Creates an empty zone in these bytes.
    ///
    /// # Errors
    /// When there are too few, or they are not aligned.
    pub fn format(bytes: &'a mut [u8]) -> Result<Self, MetricsZoneError> {
        bytes.fill(0);
        let shape = Shape::of(bytes.len()).ok_or(MetricsZoneError::TooSmall(bytes.len()))?;
        let metrics = Self::divide(bytes, shape)?;
        *metrics.header = MetricsHeader {
            magic: MAGIC,
            layout: LAYOUT,
            rows: shape.rows as u64,
            sums: shape.sums as u64,
            used: [0; TABLES.len()],
        };
        for table in TABLES {
            let first = metrics.range(table).start;
            metrics.rows[first].label = Label::new(OTHER);
            metrics.rows[first].hash = hash(OTHER);
        }
        Ok(metrics)
    }

    /// Opens a zone that [`MetricsZone::format`] created in the same bytes.
    ///
    /// # Errors
    /// When another program or version created it.
    pub fn open(bytes: &'a mut [u8]) -> Result<Self, MetricsZoneError> {
        let shape = Shape::of(bytes.len()).ok_or(MetricsZoneError::TooSmall(bytes.len()))?;
        let metrics = Self::divide(bytes, shape)?;
        let header = &metrics.header;
        let found = (header.magic, header.layout, header.rows, header.sums);
        if found != (MAGIC, LAYOUT, shape.rows as u64, shape.sums as u64) {
            return Err(MetricsZoneError::Foreign);
        }
        Ok(metrics)
    }

    fn divide(bytes: &'a mut [u8], shape: Shape) -> Result<Self, MetricsZoneError> {
        let size = bytes.len();
        let (header, rest) = carve::<MetricsHeader>(bytes, 1)?;
        // First, so that rows begin on a cache line.
        let (rows, rest) = carve(rest, shape.rows)?;
        let (begun, rest) = carve(rest, shape.rows)?;
        let (fixed, rest) = carve::<FixedRecords>(rest, 1)?;
        let (tags, rest) = carve(rest, shape.sums)?;
        let (sums, _) = carve(rest, shape.sums)?;
        let ([header], [fixed]) = (header, fixed) else {
            return Err(MetricsZoneError::TooSmall(size));
        };
        Ok(Self {
            header,
            cells: &mut fixed.cells,
            times: &mut fixed.times,
            rows,
            daily: DailyStats {
                head: &mut fixed.head,
                identity: &mut fixed.identity,
                months: &mut fixed.months,
                begun,
                tags,
                sums,
            },
            seen: &mut fixed.seen,
            recent: &mut fixed.recent,
        })
    }

    /// The rows of a table; the first is `other`.
    pub(super) fn range(&self, table: MetricsTable) -> Range<usize> {
        match table {
            MetricsTable::Services => 0..SERVICES,
            MetricsTable::Models => SERVICES..SERVICES + MODELS,
            MetricsTable::Pools => SERVICES + MODELS..TIMED,
            MetricsTable::Keys => TIMED..self.rows.len(),
        }
    }

    /// Repairs what a process that died has left unfinished: counts the named rows again, and
    /// completes or discards the end of a day.
    pub fn recover(&mut self) {
        for table in TABLES {
            self.header.used[table as usize] = self.count_names(table) as u64;
        }
        self.daily.recover(self.rows);
    }

    /// Number of named rows of a table, without `other`.
    pub(super) fn count_names(&self, table: MetricsTable) -> usize {
        let rows = self.rows[self.range(table)].iter().skip(1);
        rows.filter(|row| row.hash != 0).count()
    }

    /// Adds an ended request.
    ///
    /// The words of the sums are increased one after another. If the process dies in between, the
    /// sums already written contain the request and the others do not. This is not repaired: it
    /// concerns at most one request, no sum becomes lower, and each remains a valid number.
    pub fn add(&mut self, record: &Record<'_>) {
        self.turn(record.day);
        if let Some(request) = &record.request {
            let counters = Counters::of(request);
            for table in TABLES {
                let at = self.place(table, request);
                if table == MetricsTable::Pools {
                    self.note_recent(at, request.outcome, record.ended_ms);
                }
                add(&mut self.rows[at].counters, &counters);
                if let Some(times) = self.times.get_mut(at) {
                    times.note(request, record.duration_ms);
                }
            }
        }
        if let Some(http) = record.http {
            self.cells[http.cell()].note(http, record.duration_ms);
        }
    }

    /// Begins a new day if necessary.
    pub(super) fn turn(&mut self, day: Day) {
        if self.daily.is_over(day) {
            self.daily.roll(self.rows, day);
        }
    }

    /// The row for a request; created if necessary.
    pub(super) fn place(&mut self, table: MetricsTable, request: &PoolRequest<'_>) -> usize {
        let mut joined = [0; NAME];
        let name = match table {
            MetricsTable::Services => request.service,
            MetricsTable::Models => request.model,
            MetricsTable::Pools => request.pool,
            MetricsTable::Keys => join(&mut joined, request.pool, request.key),
        };
        // Clients can request models that do not exist.
        let may = table != MetricsTable::Models
            || request.known_model
            || request.outcome == Outcome::Success
            || name.is_empty();
        self.claim_if(may, table, name)
    }

    /// The row with this name, a free row for it, or `other`.
    fn find(&self, table: MetricsTable, name: &str) -> usize {
        let range = self.range(table);
        let (first, own) = (range.start, range.start + 1..range.end);
        let hash = hash(name);
        let start = hash as usize % own.len();
        for step in 0..own.len() {
            let at = own.start + (start + step) % own.len();
            let known = &self.rows[at];
            // Only names of models are compared: clients choose them, and could choose some whose
            // hashes collide. All others are in the configuration. The labels of keys are in other
            // cache lines than their counters.
            let is_same =
                || table != MetricsTable::Models || known.label.bytes() == name.as_bytes();
            if known.hash == hash && is_same() {
                return at;
            }
            if known.hash == 0 {
                let full = self.header.used[table as usize] as usize >= own.len() * 3 / 4;
                return if full { first } else { at };
            }
        }
        first
    }

    /// The used rows of a table; `other` only if it has counted requests.
    pub(super) fn used(&self, table: MetricsTable) -> impl Iterator<Item = (&Row, Option<&Times>)> {
        let (range, other) = (self.range(table), self.range(table).start);
        let rows = range.map(|at| (at, &self.rows[at], self.times.get(at)));
        rows.filter(move |(at, row, _)| {
            let counts = row.counters.requests.iter().any(|&n| n > 0);
            row.hash != 0 && (*at != other || counts)
        })
        .map(|(_, row, times)| (row, times))
    }

    /// Creates a row with zeros for a service of the configuration. `false` if there is no room.
    pub fn introduce_service(&mut self, name: &str) -> bool {
        self.claim(MetricsTable::Services, name) != self.range(MetricsTable::Services).start
    }

    /// Creates rows with zeros for a key of the configuration and its pool.
    pub fn introduce_key(&mut self, pool: &str, key: &str) {
        self.claim(MetricsTable::Pools, pool);
        self.claim(MetricsTable::Keys, join(&mut [0; NAME], pool, key));
    }

    /// The row with this name, created if there is room; otherwise `other`.
    pub(super) fn claim(&mut self, table: MetricsTable, name: &str) -> usize {
        self.claim_if(true, table, name)
    }

    /// The row with this name. If there is none, it is created if `may` is set and there is room;
    /// otherwise `other`.
    fn claim_if(&mut self, may: bool, table: MetricsTable, name: &str) -> usize {
        let first = self.range(table).start;
        if !Label::may_be(name) {
            return first;
        }
        let at = self.find(table, name);
        if self.rows[at].hash != 0 {
            return at;
        }
        if !may {
            return first;
        }
        self.header.used[table as usize] += 1;
        self.rows[at].label = Label::new(name);
        // A row is found by its hash: from then on its name is complete. Before, nothing is
        // counted in it, since another name could get the row.
        fence();
        self.rows[at].hash = hash(name);
        fence();
        at
    }

    /// The row with this name, if it has its own.
    pub(super) fn known(&self, table: MetricsTable, name: &str) -> Option<usize> {
        let at = Label::may_be(name).then(|| self.find(table, name))?;
        let row = &self.rows[at];
        (row.hash != 0 && row.label.bytes() == name.as_bytes()).then_some(at)
    }
}

fn carve<T: Pod>(
    bytes: &mut [u8],
    count: usize,
) -> Result<(&mut [T], &mut [u8]), MetricsZoneError> {
    let size = count * size_of::<T>();
    if size > bytes.len() {
        return Err(MetricsZoneError::TooSmall(bytes.len()));
    }
    let (head, rest) = bytes.split_at_mut(size);
    let records = bytemuck::try_cast_slice_mut(head).map_err(|_| MetricsZoneError::Misaligned)?;
    Ok((records, rest))
}
