//! Sums per day.
//!
//! Counting a request costs nothing here. The tables contain what each row had counted when the
//! day began, and the sums of earlier days. The sums of the current day are the difference. The
//! first request of a new day closes the day before.
//!
//! Closing a day is atomic: its sums are marked as pending until all are stored, then the next
//! day is recorded. The remaining steps can be repeated without changing the result.

use bytemuck::{Pod, Zeroable};

use super::day::Day;
use super::record::Outcome;
use super::row::{Counters, Row};
use super::snapshot::SnapshotIdentity;
use super::words::{add, each, fence};
use crate::clients::{LIMITS, Period, Quota, QuotaLimit};

/// Number of days stored besides the current one: this month and the month before.
pub const KEPT_DAYS: u32 = 62;

/// Amounts that quotas limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct QuotaUsage {
    /// Requests that got a key.
    pub requests: u64,
    /// Prompt and completion tokens.
    pub tokens: u64,
    /// Cost in units of [`crate::prices`].
    pub cost: u64,
}

impl QuotaUsage {
    pub(super) fn of(counters: &Counters) -> Self {
        let without = [Outcome::NoKey, Outcome::Unavailable, Outcome::Refused];
        let without: u64 = without.map(|o| counters.requests[o as usize]).iter().sum();
        Self {
            requests: counters.requests.iter().sum::<u64>() - without,
            tokens: counters.prompt.saturating_add(counters.completion),
            cost: counters.cost,
        }
    }

    fn plus(self, other: Self) -> Self {
        each(self, &other, u64::saturating_add)
    }

    fn minus(self, other: Self) -> Self {
        each(self, &other, u64::saturating_sub)
    }
}

/// A quota that a service has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaReached {
    /// The limit.
    pub limit: QuotaLimit,
    /// The amount used.
    pub used: u64,
    /// Whether this is the first time in the day or month.
    pub is_first: bool,
}

/// Usage of a service in the current month: here and on other machines.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ServiceMonth {
    /// What the row had counted when the month began.
    begun: QuotaUsage,
    others_today: QuotaUsage,
    others_month: QuotaUsage,
    /// By limit: the day or month for which it was last reported as used up.
    reported: [u32; LIMITS],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct DailyState {
    /// The current day; 0 before the first request.
    pub(super) day: u64,
    /// The day that is about to become the current one; 0 otherwise.
    next: u64,
    /// The first day of which sums are kept that are not of services. Later than the first stored
    /// day when those of services were kept longer: see [`DailyStats::next_removed`].
    rest_from: u64,
}

/// Day and row of a sum; 0 for an unused entry.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct SumTag(u64);

impl SumTag {
    const NONE: Self = Self(0);
    /// The day is being closed.
    const PENDING: u64 = 1 << 31;
    /// The sum of other machines.
    const OTHERS: u64 = 1 << 30;

    const fn new(day: u64, row: usize, kind: u64) -> Self {
        Self(day << 32 | kind | row as u64)
    }

    pub(super) const fn day(self) -> u64 {
        self.0 >> 32
    }

    pub(super) const fn row(self) -> usize {
        (self.0 as u32 as u64 & !(Self::PENDING | Self::OTHERS)) as usize
    }

    pub(super) const fn is(self, kind: u64) -> bool {
        self.0 & kind != 0
    }
}

/// The sums per day of a metrics zone.
pub(super) struct DailyStats<'a> {
    pub(super) head: &'a mut DailyState,
    pub(super) identity: &'a mut SnapshotIdentity,
    /// By service.
    pub(super) months: &'a mut [ServiceMonth],
    /// What each row had counted when the day began.
    pub(super) begun: &'a mut [Counters],
    /// Day and row of each stored sum: of earlier days, and of other machines.
    pub(super) tags: &'a mut [SumTag],
    pub(super) sums: &'a mut [Counters],
}

impl DailyStats<'_> {
    /// Whether a request of this day belongs to another day than the current one. A worker's
    /// clock may be slightly behind.
    pub(super) fn is_over(&self, day: Day) -> bool {
        let day = u64::from(day.number());
        day > self.head.day || day + 1 < self.head.day
    }

    /// Closes the current day and begins another.
    #[cold]
    pub(super) fn roll(&mut self, rows: &[Row], day: Day) {
        self.close(rows, day);
        self.decide(day);
        self.begin(rows);
    }

    /// Records the next day. From here on, [`DailyStats::recover`] completes the change instead of
    /// discarding it.
    pub(super) fn decide(&mut self, day: Day) {
        fence();
        self.head.next = day.number().into();
        fence();
    }

    /// Completes or discards what a process that died has left unfinished.
    pub(super) fn recover(&mut self, rows: &[Row]) {
        if self.head.next != 0 {
            self.begin(rows);
        }
        self.add_up(rows, self.head.day, false);
    }

    /// Stores the sums of the current day, marked as pending.
    pub(super) fn close(&mut self, rows: &[Row], next: Day) {
        let oldest = u64::from(next.before(KEPT_DAYS).number());
        for tag in self.tags.iter_mut() {
            if tag.is(SumTag::PENDING) || tag.day() < oldest {
                *tag = SumTag::NONE;
            }
        }
        let mut from = 0;
        for (at, row) in rows.iter().enumerate() {
            if row.hash == 0 || row.counters == self.begun[at] {
                continue;
            }
            let Some(place) = self.free(from) else { break };
            self.sums[place] = row.counters.since(&self.begun[at]);
            self.tags[place] = SumTag::new(self.head.day, at, SumTag::PENDING);
            from = place + 1;
        }
    }

    /// Makes the recorded next day the current one.
    fn begin(&mut self, rows: &[Row]) {
        let next = self.head.next;
        for tag in self.tags.iter_mut().filter(|tag| tag.is(SumTag::PENDING)) {
            *tag = SumTag(tag.0 & !SumTag::PENDING);
        }
        for (begun, row) in self.begun.iter_mut().zip(rows) {
            *begun = row.counters;
        }
        // The clock may have been set back.
        self.head.rest_from = self.head.rest_from.min(next);
        let another = month(next) != month(self.head.day);
        self.add_up(rows, next, another);
        fence();
        self.head.day = next;
        fence();
        self.head.next = 0;
    }

    /// An unused entry, searched from `from` on. If there is none, room is made: see
    /// [`DailyStats::next_removed`].
    fn free(&mut self, from: usize) -> Option<usize> {
        let found = |tags: &[SumTag]| tags.iter().position(|&tag| tag == SumTag::NONE);
        let tags = self.tags.get(from..).unwrap_or_default();
        if let Some(at) = found(tags).map(|at| from + at).or_else(|| found(self.tags)) {
            return Some(at);
        }
        let (day, keeps_services) = self.next_removed()?;
        if keeps_services {
            self.head.rest_from = self.head.rest_from.max(day + 1);
        }
        let services = self.months.len();
        for tag in self.tags.iter_mut() {
            let is_kept = keeps_services && tag.row() < services;
            if tag.day() == day && !tag.is(SumTag::PENDING) && !is_kept {
                *tag = SumTag::NONE;
            }
        }
        found(self.tags)
    }

    /// What is removed next to make room: the sums of a day, and whether those of services are kept.
    /// Quotas need these for the current month, so the sums of keys, pools and models go first.
    fn next_removed(&self) -> Option<(u64, bool)> {
        let stored = || {
            let tags = self.tags.iter().filter(|tag| !tag.is(SumTag::PENDING));
            tags.filter(|tag| **tag != SumTag::NONE)
        };
        let oldest = stored().map(|tag| tag.day()).min()?;
        let rest = stored().filter(|tag| tag.row() >= self.months.len());
        match rest.map(|tag| tag.day()).min() {
            Some(day) if oldest >= month(self.head.day) => Some((day, true)),
            _ => Some((oldest, false)),
        }
    }

    /// The sum with this tag, zero at first; `None` if there is no room.
    fn entry(&mut self, tag: SumTag) -> Option<&mut Counters> {
        let known = self.tags.iter().position(|&known| known == tag);
        let place = known.or_else(|| self.free(0))?;
        if known.is_none() {
            self.sums[place] = Counters::default();
            fence();
            self.tags[place] = tag;
        }
        Some(&mut self.sums[place])
    }

    /// Computes the months from the sums of their days, up to today.
    pub(super) fn add_up(&mut self, rows: &[Row], today: u64, another_month: bool) {
        let first = month(today);
        for (row, month) in rows.iter().zip(self.months.iter_mut()) {
            month.others_today = QuotaUsage::zeroed();
            month.others_month = QuotaUsage::zeroed();
            if another_month {
                month.begun = QuotaUsage::of(&row.counters);
            }
        }
        for (tag, sum) in self.tags.iter().zip(&*self.sums) {
            let Some(month) = self.months.get_mut(tag.row()) else {
                continue;
            };
            if tag.day() < first || tag.day() > today || tag.is(SumTag::PENDING) {
                continue;
            }
            match tag.is(SumTag::OTHERS) {
                true => {
                    month.others_month = month.others_month.plus(QuotaUsage::of(sum));
                    if tag.day() == today {
                        month.others_today = QuotaUsage::of(sum);
                    }
                }
                // The clock went back to a month with stored sums.
                false if another_month => month.begun = month.begun.minus(QuotaUsage::of(sum)),
                false => {}
            }
        }
    }

    /// Usage of a service on the current day and in its month.
    pub(super) fn used(&self, at: usize, row: &Row) -> (QuotaUsage, QuotaUsage) {
        let (Some(month), now) = (self.months.get(at), QuotaUsage::of(&row.counters)) else {
            return Default::default();
        };
        let today = now.minus(QuotaUsage::of(&self.begun[at]));
        (
            today.plus(month.others_today),
            now.minus(month.begun).plus(month.others_month),
        )
    }

    /// The first quota that a service has used up, if any.
    pub(super) fn passed(&mut self, at: usize, row: &Row, quota: &Quota) -> Option<QuotaReached> {
        let used = self.used(at, row);
        let reached = |limit: &&QuotaLimit| limit.used(&used) >= limit.most;
        let limit = *quota.limits().iter().find(reached)?;
        let since = match limit.period {
            Period::Day => self.today(),
            Period::Month => self.today().month(),
        };
        let reported = &mut self.months.get_mut(at)?.reported[limit.kind()];
        let is_first = *reported != since.number();
        *reported = since.number();
        Some(QuotaReached {
            limit,
            used: limit.used(&used),
            is_first,
        })
    }

    /// Adds counts from a snapshot: a total, and the part of it by day.
    pub(super) fn add_past(
        &mut self,
        at: usize,
        total: &Counters,
        days: impl Iterator<Item = (Day, Counters)>,
    ) {
        let today = self.today();
        let (mut past, mut before_month) = (*total, QuotaUsage::of(total));
        for (day, sum) in days {
            if day >= today.month() {
                before_month = before_month.minus(QuotaUsage::of(&sum));
            }
            if day >= today {
                past = past.since(&sum);
            } else if day >= today.before(KEPT_DAYS) && self.keeps(at, day) {
                let tag = SumTag::new(day.number().into(), at, 0);
                if let Some(stored) = self.entry(tag) {
                    add(stored, &sum);
                }
            }
        }
        add(&mut self.begun[at], &past);
        if let Some(month) = self.months.get_mut(at) {
            month.begun = month.begun.plus(before_month);
        }
    }

    /// Number of stored sums.
    pub(super) fn kept(&self) -> usize {
        self.tags.iter().filter(|&&tag| tag != SumTag::NONE).count()
    }

    /// Raises the sum of other machines for a row and a day; the caller must call `add_up`.
    /// `false` if that would remove a day that is not older.
    pub(super) fn raise_others(&mut self, at: usize, day: Day, sum: &Counters) -> bool {
        let tag = SumTag::new(day.number().into(), at, SumTag::OTHERS);
        if let Some(known) = self.tags.iter().position(|&known| known == tag) {
            self.sums[known] = self.sums[known].highest(sum);
            return true;
        }
        let is_full = !self.tags.contains(&SumTag::NONE);
        let makes_room = |this: &Self| {
            let (removed, keeps_services) = this.next_removed()?;
            let is_needed = at < this.months.len() && day >= this.today().month();
            Some(removed < day.number().into() || keeps_services && is_needed)
        };
        if !self.keeps(at, day) || is_full && makes_room(self) != Some(true) {
            return false;
        }
        self.entry(tag).map(|stored| *stored = *sum).is_some()
    }

    /// The current day.
    pub(super) fn today(&self) -> Day {
        Day::from_number(self.head.day)
    }

    /// Whether sums of a row and a day are still kept.
    fn keeps(&self, at: usize, day: Day) -> bool {
        at < self.months.len() || u64::from(day.number()) >= self.head.rest_from
    }

    /// The first day of which all sums are stored; `None` before the first request.
    pub(super) fn first(&self) -> Option<Day> {
        let days = self.sums().map(|(_, day, ..)| day);
        let today = (self.head.day != 0).then(|| self.today());
        let first = days.chain(today).min()?;
        Some(first.max(Day::from_number(self.head.rest_from)))
    }

    /// The stored sums: whether of other machines, day, row, sum.
    pub(super) fn sums(&self) -> impl Iterator<Item = (bool, Day, usize, &Counters)> {
        let tags = self.tags.iter().zip(&*self.sums);
        tags.filter(|(tag, _)| **tag != SumTag::NONE && !tag.is(SumTag::PENDING))
            .map(|(tag, sum)| {
                let others = tag.is(SumTag::OTHERS);
                (others, Day::from_number(tag.day()), tag.row(), sum)
            })
    }
}

fn month(day: u64) -> u64 {
    Day::from_number(day).month().number().into()
}
