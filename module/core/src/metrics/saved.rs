//! The totals as a file holds them: JSON, by names, so that another version of the module
//! can go on with them. The first line says whose they are, the second is what they are.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::board::{Board, TABLES, Table};
use super::day::Day;
use super::histogram::Histogram;
use super::http::{CELLS, Cell, ENDPOINTS, METHODS, STATUSES, endpoint_of, method_of};
use super::row::{Counters, OTHER, Row, Times};
use super::shared::shared_name;
use super::words::{
    COUNTERS, HISTOGRAM, STATUS, Words, add, add_times, from_words, times_words, words,
};

const FORMAT: u32 = 1;

/// Why bytes are no totals.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SavedError {
    /// Something else.
    #[error("it is no file of totals")]
    Foreign,
    /// Of a later version of the module.
    #[error("it is of a later version")]
    Newer,
    /// Cut off, or changed by somebody.
    #[error("it is damaged: its checksum is another")]
    Damaged,
}

/// Whose totals a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The block of totals that it was made from.
    pub instance: u64,
    /// The process that has the block.
    pub pid: u32,
    /// Rises with every copy of the block.
    pub turn: u64,
    /// The block whose leftover is still to be added, and its process; 0 for none.
    pub parent: u64,
    /// That process.
    pub parent_pid: u32,
    /// Whether it holds what was counted after another block took over, to be added.
    pub leftover: bool,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The version of the form.
    openai_stats: u32,
    #[serde(flatten)]
    owner: Owner,
    /// That of the second line.
    sha256: String,
}

impl Line {
    fn parse(bytes: &[u8]) -> Result<Self, SavedError> {
        let line = bytes.split(|&byte| byte == b'\n').next();
        let line: Self =
            serde_json::from_slice(line.unwrap_or_default()).map_err(|_| SavedError::Foreign)?;
        match line.openai_stats {
            1..=FORMAT => Ok(line),
            0 => Err(SavedError::Foreign),
            _ => Err(SavedError::Newer),
        }
    }
}

impl Owner {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, SavedError> {
        Line::parse(bytes).map(|line| line.owner)
    }
}

/// Sums by day and the names that rows have among machines.
pub type ByDay = BTreeMap<(Day, String), Counters>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SavedRow {
    table: String,
    name: String,
    total: Words,
    #[serde(default)]
    times: BTreeMap<String, Words>,
    #[serde(default)]
    days: BTreeMap<String, Words>,
    #[serde(default)]
    others: BTreeMap<String, Words>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SavedCell {
    method: String,
    endpoint: String,
    statuses: Words,
    duration: Words,
}

/// The totals of a block, apart from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    rows: Vec<SavedRow>,
    http: Vec<SavedCell>,
}

/// What a block has to do with a file; all zero at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Identity {
    /// Its name, by chance.
    pub instance: u64,
    /// What stands for the path of the file that it is kept in.
    pub path: u64,
    /// See [`Owner::parent`].
    pub parent: u64,
    /// See [`Owner::parent`].
    pub parent_pid: u64,
    /// See [`Owner::turn`].
    pub turn: u64,
    /// Whether it is still to be told that the file was none.
    pub is_rejected: u64,
}

/// What is used of a block, as it was at a moment.
pub struct Extract {
    rows: Vec<(Table, usize, Row, Option<Times>)>,
    today: Day,
    now: Vec<Counters>,
    /// Of other machines: day, row.
    sums: Vec<(bool, Day, usize, Counters)>,
    cells: Vec<Cell>,
}

impl Saved {
    /// The file of these totals.
    #[must_use]
    pub fn to_bytes(&self, owner: &Owner) -> Vec<u8> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let line = Line {
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

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &[u8]) -> Result<(Owner, Self), SavedError> {
        let line = Line::parse(bytes)?;
        let mut lines = bytes.splitn(2, |&byte| byte == b'\n');
        let body = lines.nth(1).unwrap_or_default();
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        if checksum(body) != line.sha256 {
            return Err(SavedError::Damaged);
        }
        let saved = serde_json::from_slice(body).map_err(|_| SavedError::Foreign)?;
        Ok((line.owner, saved))
    }

    /// What has been added since they were as `before`, but for what other machines count.
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
                subtract(&mut row.total, Some(&before.total));
                for (kind, words) in &mut row.times {
                    subtract(words, before.times.get(kind));
                }
                for (day, words) in &mut row.days {
                    subtract(words, before.days.get(day));
                }
            }
        }
        let cells = before.http.iter();
        let cells: BTreeMap<_, _> = cells.map(|c| ((&c.method, &c.endpoint), c)).collect();
        for cell in &mut self.http {
            if let Some(before) = cells.get(&(&cell.method, &cell.endpoint)) {
                subtract(&mut cell.statuses, Some(&before.statuses));
                subtract(&mut cell.duration, Some(&before.duration));
            }
        }
        self
    }
}

impl Saved {
    /// Without what is by day; and that, of its block and the others together. The
    /// newest comes first, as there may not be room for all.
    pub(super) fn split(mut self) -> (Self, Vec<(Day, String, Counters)>) {
        let sums = self.by_day(true).into_iter().rev();
        let sums = sums.map(|((day, name), sum)| (day, name, sum));
        let sums = sums.collect();
        for row in &mut self.rows {
            row.days.clear();
            row.others.clear();
        }
        (self, sums)
    }

    /// As another block goes on with them, of which other machines know that: what is by
    /// day is others'.
    #[must_use]
    pub fn of_another(mut self) -> Self {
        for row in &mut self.rows {
            for (day, words) in std::mem::take(&mut row.days) {
                let others = row.others.entry(day).or_default();
                for (name, more) in words {
                    let sum = others.entry(name).or_default();
                    *sum = sum.saturating_add(more);
                }
            }
        }
        self
    }

    /// What its block has counted by day, and the others if they are wanted, too: by the
    /// names that rows have among machines.
    #[must_use]
    pub fn by_day(&self, others: bool) -> ByDay {
        let mut sums = ByDay::new();
        for row in &self.rows {
            let Some(table) = TABLES.into_iter().find(|table| table.name() == row.table) else {
                continue;
            };
            let others = row.others.iter().filter(|_| others);
            for (day, words) in row.days.iter().chain(others) {
                if let Some(day) = Day::parse(day) {
                    let name = shared_name(table, &row.name);
                    let sum = sums.entry((day, name)).or_default();
                    *sum = sum.plus(&from_words(&COUNTERS, words));
                }
            }
        }
        sums
    }
}

impl From<Extract> for Saved {
    fn from(copy: Extract) -> Self {
        let mut saved = BTreeMap::new();
        for ((table, at, row, times), now) in copy.rows.iter().zip(&copy.now) {
            let mut days = BTreeMap::new();
            if *now != Counters::default() {
                days.insert(copy.today.to_string(), words(&COUNTERS, now));
            }
            let row = SavedRow {
                table: table.name().to_owned(),
                name: row.label.name().to_owned(),
                total: words(&COUNTERS, &row.counters),
                times: times.as_ref().map(times_words).unwrap_or_default(),
                days,
                others: BTreeMap::new(),
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
            // A day may have been closed twice, when the clock went back.
            let sums = days.entry(day.to_string()).or_default();
            for (name, more) in words(&COUNTERS, sum) {
                *sums.entry(name).or_default() += more;
            }
        }
        // Of a row there may be nothing but what others have counted.
        saved.retain(|_, row| {
            !(row.total.is_empty() && row.days.is_empty() && row.others.is_empty())
        });
        let used = copy.cells.iter().enumerate();
        let used = used.filter(|(_, cell)| cell.duration.count() > 0);
        let http = used.map(|(at, cell)| SavedCell {
            method: method_of(at).to_owned(),
            endpoint: endpoint_of(at).to_owned(),
            statuses: words(&STATUS, &cell.statuses),
            duration: words(&HISTOGRAM, &cell.duration),
        });
        Self {
            rows: saved.into_values().collect(),
            http: http.collect(),
        }
    }
}

impl Board<'_> {
    /// What the block has to do with a file.
    pub fn identity(&mut self) -> &mut Identity {
        self.ledger.identity
    }

    /// How much has been counted: another number when anything has.
    #[must_use]
    pub fn progress(&self) -> u64 {
        let rows = &self.rows[self.range(Table::Services)];
        let requests = rows.iter().flat_map(|row| row.counters.requests);
        let cells = self.cells.iter().flat_map(|cell| cell.statuses);
        requests.chain(cells).fold(0, u64::wrapping_add)
    }

    /// A copy of what is used, to be saved.
    #[must_use]
    pub fn extract(&self) -> Extract {
        let (mut rows, mut now) = (vec![], vec![]);
        for table in TABLES {
            for at in self.range(table) {
                let row = self.rows[at];
                if row.label.hash != 0 {
                    rows.push((table, at, row, self.times.get(at).copied()));
                    now.push(row.counters.since(&self.ledger.begun[at]));
                }
            }
        }
        // Others wait: it is copied once.
        let mut sums = Vec::with_capacity(self.ledger.kept());
        for others in [false, true] {
            let some = self.ledger.sums(others);
            sums.extend(some.map(|(day, at, sum)| (others, day, at, *sum)));
        }
        Extract {
            rows,
            today: self.ledger.today(),
            now,
            sums,
            cells: self.cells.to_vec(),
        }
    }

    /// Adds what a file holds.
    pub fn merge(&mut self, saved: &Saved, today: Day) {
        self.turn(today);
        for row in &saved.rows {
            let Some(table) = TABLES.into_iter().find(|table| table.name() == row.table) else {
                continue;
            };
            let at = self.claim(table, &row.name);
            let names = &*COUNTERS;
            let total: Counters = from_words(names, &row.total);
            self.rows[at].counters = self.rows[at].counters.plus(&total);
            let days = row.days.iter().filter_map(|(day, words)| {
                Some((Day::parse(day)?, from_words::<Counters>(names, words)))
            });
            self.ledger.add_past(at, &total, days);
            if let Some(times) = self.times.get_mut(at) {
                add_times(times, &row.times);
            }
            if !row.others.is_empty() && row.name != OTHER && table == Table::Services {
                for (day, words) in &row.others {
                    if let Some(day) = Day::parse(day) {
                        self.set_others(today, day, &row.name, &from_words(names, words));
                    }
                }
            }
        }
        for saved in &saved.http {
            let method = METHODS.iter().position(|known| *known == saved.method);
            let endpoint = ENDPOINTS
                .iter()
                .position(|(known, _)| *known == saved.endpoint);
            let (method, endpoint) = (
                method.unwrap_or(METHODS.len() - 1),
                endpoint.unwrap_or(CELLS / METHODS.len() - 1),
            );
            let cell = &mut self.cells[endpoint * METHODS.len() + method];
            let more = from_words::<[u64; STATUSES.len()]>(&STATUS, &saved.statuses);
            add(&mut cell.statuses, &more);
            let more: Histogram = from_words(&HISTOGRAM, &saved.duration);
            add(&mut cell.duration, &more);
        }
        self.ledger.recover(self.rows);
    }
}

fn checksum(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn subtract(words: &mut Words, before: Option<&Words>) {
    for (name, word) in words.iter_mut() {
        let before = before.and_then(|before| before.get(name)).copied();
        *word = word.saturating_sub(before.unwrap_or_default());
    }
}
