//! Snapshots: the metrics in a file, as JSON with named numbers, so that other versions of the
//! module can read them. The first line identifies the zone, the second contains the metrics.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::day::Day;
use super::http::{Cell, Endpoint, Http, used};
use super::row::{Counters, OTHER, Row, Times};
use super::shared::shared_name;
use super::words::{add, each};
use super::zone::{MetricsTable, MetricsZone, TABLES};

const FORMAT: u32 = 1;

/// Why a file is not a valid snapshot.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// Not a snapshot.
    #[error("it is not a snapshot")]
    Foreign,
    /// Written by a later version of the module.
    #[error("it was written by a later version")]
    Newer,
    /// Truncated or changed.
    #[error("it is damaged: the checksum is wrong")]
    Damaged,
}

/// The zone that a snapshot belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotOwner {
    /// Id of the zone.
    pub instance: u64,
    /// Process that uses the zone.
    pub pid: u32,
    /// Increases with every snapshot of the zone.
    pub turn: u64,
    /// Zone whose leftover is still to be added, and its process; 0 for none.
    pub parent: u64,
    /// Process of that zone.
    pub parent_pid: u32,
    /// Whether the file is a leftover: what was counted after another zone took over, to be added
    /// to it.
    pub leftover: bool,
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct FirstLine {
    /// Version of the format.
    openai_stats: u32,
    #[serde(flatten)]
    owner: SnapshotOwner,
    /// Checksum of the second line.
    sha256: String,
}

impl FirstLine {
    fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let line = bytes.split(|&byte| byte == b'\n').next();
        let line: Self =
            serde_json::from_slice(line.unwrap_or_default()).map_err(|_| SnapshotError::Foreign)?;
        match line.openai_stats {
            1..=FORMAT => Ok(line),
            0 => Err(SnapshotError::Foreign),
            _ => Err(SnapshotError::Newer),
        }
    }
}

impl SnapshotOwner {
    /// Parses the first line of a file.
    ///
    /// # Errors
    /// When the file is not a snapshot, or a later version has written it.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        FirstLine::parse(bytes).map(|line| line.owner)
    }
}

/// Sums by day and row name, as used between machines.
pub type ByDay = BTreeMap<(Day, String), Counters>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotRow {
    table: String,
    name: String,
    total: Counters,
    #[serde(default)]
    times: Times,
    #[serde(default)]
    days: BTreeMap<String, Counters>,
    #[serde(default)]
    others: BTreeMap<String, Counters>,
}

impl SnapshotRow {
    fn table(&self) -> Option<MetricsTable> {
        TABLES.into_iter().find(|table| table.name() == self.table)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotCell {
    method: String,
    endpoint: String,
    #[serde(flatten)]
    cell: Cell,
}

/// The metrics of a zone, outside of shared memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    rows: Vec<SnapshotRow>,
    http: Vec<SnapshotCell>,
}

/// The zone's relation to its snapshot file; all zero at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SnapshotIdentity {
    /// Random id of the zone.
    pub instance: u64,
    /// Hash of the path of the snapshot file.
    pub path: u64,
    /// See [`SnapshotOwner::parent`].
    pub parent: u64,
    /// See [`SnapshotOwner::parent`].
    pub parent_pid: u64,
    /// See [`SnapshotOwner::turn`].
    pub turn: u64,
    /// Whether an invalid file is still to be reported.
    pub is_rejected: u64,
}

/// A copy of the used rows of a zone.
pub struct UsedRows {
    rows: Vec<(MetricsTable, usize, Row, Option<Times>)>,
    /// Sums by day: whether of other machines, day, row, sum.
    sums: Vec<(bool, Day, usize, Counters)>,
    cells: Vec<Cell>,
}

impl Snapshot {
    /// The content of the file.
    #[must_use]
    pub fn to_bytes(&self, owner: &SnapshotOwner) -> Vec<u8> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let line = FirstLine {
            openai_stats: FORMAT,
            owner: *owner,
            sha256: checksum(&body),
        };
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend(body);
        bytes.push(b'\n');
        bytes
    }

    /// Parses a file.
    ///
    /// # Errors
    /// When it is not a valid snapshot.
    pub fn parse(bytes: &[u8]) -> Result<(SnapshotOwner, Self), SnapshotError> {
        let line = FirstLine::parse(bytes)?;
        let mut lines = bytes.splitn(2, |&byte| byte == b'\n');
        let body = lines.nth(1).unwrap_or_default();
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        if checksum(body) != line.sha256 {
            return Err(SnapshotError::Damaged);
        }
        let saved = serde_json::from_slice(body).map_err(|_| SnapshotError::Foreign)?;
        Ok((line.owner, saved))
    }

    /// The difference to an earlier snapshot, without the sums of other machines.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        let rows: BTreeMap<_, _> = before
            .rows
            .iter()
            .map(|r| ((&r.table, &r.name), r))
            .collect();
        for row in &mut self.rows {
            row.others.clear();
            if let Some(before) = rows.get(&(&row.table, &row.name)) {
                row.total = row.total.since(&before.total);
                row.times = each(row.times, &before.times, u64::saturating_sub);
                for (day, sum) in &mut row.days {
                    *sum = sum.since(before.days.get(day).unwrap_or(&Counters::default()));
                }
            }
        }
        let cells = before.http.iter();
        let cells: BTreeMap<_, _> = cells.map(|c| ((&c.method, &c.endpoint), c)).collect();
        for saved in &mut self.http {
            if let Some(before) = cells.get(&(&saved.method, &saved.endpoint)) {
                saved.cell = each(saved.cell, &before.cell, u64::saturating_sub);
            }
        }
        self
    }

    /// Removes the sums by day.
    pub(super) fn clear_days(&mut self) {
        for row in &mut self.rows {
            row.days.clear();
            row.others.clear();
        }
    }

    /// Turns the sums by day into those of other machines, for a zone that takes over a snapshot
    /// that other machines know.
    #[must_use]
    pub fn of_another(mut self) -> Self {
        for row in &mut self.rows {
            for (day, sum) in std::mem::take(&mut row.days) {
                add(row.others.entry(day).or_default(), &sum);
            }
        }
        self
    }

    /// The sums by day of the zone, optionally with those of other machines, by the row names
    /// used between machines.
    #[must_use]
    pub fn by_day(&self, others: bool) -> ByDay {
        let mut sums = ByDay::new();
        for row in &self.rows {
            let Some(table) = row.table() else {
                continue;
            };
            let others = parsed(&row.others).filter(|_| others);
            for (day, sum) in parsed(&row.days).chain(others) {
                let name = shared_name(table, &row.name);
                add(sums.entry((day, name)).or_default(), &sum);
            }
        }
        sums
    }
}

impl From<UsedRows> for Snapshot {
    fn from(copy: UsedRows) -> Self {
        let mut saved = BTreeMap::new();
        for (table, at, row, times) in &copy.rows {
            let row = SnapshotRow {
                table: table.name().to_owned(),
                name: row.label.name().to_owned(),
                total: row.counters,
                times: times.unwrap_or_default(),
                ..SnapshotRow::default()
            };
            saved.insert(*at, row);
        }
        for (others, day, at, sum) in &copy.sums {
            let Some(row) = saved.get_mut(at) else {
                continue;
            };
            let days = if *others {
                &mut row.others
            } else {
                &mut row.days
            };
            // A day can have been closed twice when the clock went back.
            add(days.entry(day.to_string()).or_default(), sum);
        }
        // A row may contain only sums of other machines.
        let is_zero = |sum: &Counters| *sum == Counters::default();
        saved.retain(|_, row| {
            !(is_zero(&row.total) && row.days.is_empty() && row.others.is_empty())
        });
        let http = used(&copy.cells).map(|(method, endpoint, cell)| SnapshotCell {
            method: method.to_owned(),
            endpoint: endpoint.to_owned(),
            cell: *cell,
        });
        Self {
            rows: saved.into_values().collect(),
            http: http.collect(),
        }
    }
}

impl MetricsZone<'_> {
    /// The zone's relation to its snapshot file.
    pub fn identity(&mut self) -> &mut SnapshotIdentity {
        self.daily.identity
    }

    /// A number that changes with every counted request.
    #[must_use]
    pub fn progress(&self) -> u64 {
        let rows = &self.rows[self.range(MetricsTable::Services)];
        let requests = rows.iter().flat_map(|row| row.counters.requests);
        let cells = self.cells.iter().flat_map(|cell| cell.statuses);
        requests.chain(cells).fold(0, u64::wrapping_add)
    }

    /// Copies the used rows, to be saved.
    #[must_use]
    pub fn used_rows(&self) -> UsedRows {
        let mut rows = vec![];
        for table in TABLES {
            for at in self.range(table) {
                let row = self.rows[at];
                if row.hash != 0 {
                    rows.push((table, at, row, self.times.get(at).copied()));
                }
            }
        }
        // Reserved at once, since other processes wait for the mutex.
        let mut sums = Vec::with_capacity(self.daily.kept() + rows.len());
        sums.extend(self.sums_by_day());
        UsedRows {
            rows,
            sums,
            cells: self.cells.to_vec(),
        }
    }

    /// Adds the metrics of a snapshot.
    pub fn merge(&mut self, saved: &Snapshot, today: Day) {
        self.turn(today);
        for row in &saved.rows {
            let Some(table) = row.table() else {
                continue;
            };
            let at = self.claim(table, &row.name);
            // First: if the process died in between, earlier days would else count as the current
            // one.
            self.daily.add_past(at, &row.total, parsed(&row.days));
            add(&mut self.rows[at].counters, &row.total);
            if let Some(times) = self.times.get_mut(at) {
                add(times, &row.times);
            }
            if row.name != OTHER && table == MetricsTable::Services {
                let name = shared_name(table, &row.name);
                let others = parsed(&row.others).map(|(day, sum)| (day, &*name, sum));
                self.raise_others(today, others);
            }
        }
        for saved in &saved.http {
            let endpoint = Endpoint::named(&saved.endpoint);
            let at = Http::new(saved.method.as_bytes(), endpoint, 0).cell();
            add(&mut self.cells[at], &saved.cell);
        }
        self.daily.recover(self.rows);
    }
}

fn checksum(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sums by day; entries with an invalid day are skipped.
fn parsed(days: &BTreeMap<String, Counters>) -> impl Iterator<Item = (Day, Counters)> {
    let days = days.iter();
    days.filter_map(|(day, sum)| Some((Day::parse(day)?, *sum)))
}
