//! What has been counted by day.
//!
//! A request costs the ledger nothing: it holds what every row of the board had counted
//! when the day began, and what the days before came to. The day's own figures are the
//! difference. When the first request of another day comes, the day before is closed.
//!
//! Closing is done wholly or not at all: the sums of the day are marked as pending until
//! all are there, the next day is written down, and what follows leads to the same
//! however often it is done.

use core::sync::atomic::{Ordering, compiler_fence};

use bytemuck::{Pod, Zeroable};

use super::day::Day;
use super::record::Outcome;
use super::row::{Counters, Row};
use super::saved::Identity;
use crate::clients::{LIMITS, Limit, Period, Quota};

/// How many days are kept besides the present one: a month, and the one before.
pub const KEPT_DAYS: u32 = 62;

/// What quotas are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Use {
    /// Requests that got a key.
    pub requests: u64,
    /// Tokens of prompts and completions.
    pub tokens: u64,
    /// What they cost, in units of [`crate::prices`].
    pub cost: u64,
}

impl Use {
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
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            tokens: self.tokens.saturating_sub(other.tokens),
            cost: self.cost.saturating_sub(other.cost),
        }
    }
}

/// A bound that a service has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The bound.
    pub limit: Limit,
    /// How much is used.
    pub used: u64,
    /// Whether it is the first to be told so.
    pub is_news: bool,
}

/// What a service has used: here, and on other machines.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Month {
    /// What its row had counted when the month began.
    begun: Use,
    others_today: Use,
    others_month: Use,
    /// The first day for which it was told that a quota is used up, by its kind.
    told: [u32; LIMITS],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Head {
    /// The present day; 0 before the first request.
    pub(super) day: u64,
    /// The day that is to be the present one; 0 when it is.
    next: u64,
}

/// Whose sum it is, and of which day; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Tag(u64);

impl Tag {
    const NONE: Self = Self(0);
    /// The day is being closed.
    const PENDING: u64 = 1 << 31;
    /// Other machines' sum.
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

/// The ledger of a board.
pub(super) struct Ledger<'a> {
    pub(super) head: &'a mut Head,
    pub(super) identity: &'a mut Identity,
    /// By service.
    pub(super) months: &'a mut [Month],
    /// What each row of the board had counted when the day began.
    pub(super) begun: &'a mut [Counters],
    /// Of days that are over, and of other machines.
    pub(super) tags: &'a mut [Tag],
    pub(super) sums: &'a mut [Counters],
}

impl Ledger<'_> {
    /// Whether requests of this day are to be added to another than the present one.
    /// A worker may read its clock late.
    pub(super) fn is_over(&self, day: Day) -> bool {
        let day = u64::from(day.number());
        day > self.head.day || day + 1 < self.head.day
    }

    /// Closes the present day and begins another.
    #[cold]
    pub(super) fn roll(&mut self, rows: &[Row], day: Day) {
        self.close(rows, day);
        self.decide(day);
        self.begin(rows);
    }

    /// From here on the day is closed, whatever happens.
    pub(super) fn decide(&mut self, day: Day) {
        compiler_fence(Ordering::SeqCst);
        self.head.next = day.number().into();
        compiler_fence(Ordering::SeqCst);
    }

    /// Makes whole what a process that died left half done.
    pub(super) fn recover(&mut self, rows: &[Row]) {
        if self.head.next != 0 {
            self.begin(rows);
        }
        self.add_up(rows, false);
    }

    /// The sums of the present day, as pending.
    pub(super) fn close(&mut self, rows: &[Row], next: Day) {
        let oldest = u64::from(next.before(KEPT_DAYS).number());
        for tag in self.tags.iter_mut() {
            if tag.is(Tag::PENDING) || tag.day() < oldest {
                *tag = Tag::NONE;
            }
        }
        let mut from = 0;
        for (at, row) in rows.iter().enumerate() {
            if row.label.hash == 0 || row.counters == self.begun[at] {
                continue;
            }
            let Some(place) = self.free(from) else { break };
            self.sums[place] = row.counters.since(&self.begun[at]);
            self.tags[place] = Tag::new(self.head.day, at, Tag::PENDING);
            from = place + 1;
        }
    }

    /// Makes the next day the present one.
    fn begin(&mut self, rows: &[Row]) {
        let next = self.head.next;
        for tag in self.tags.iter_mut().filter(|tag| tag.is(Tag::PENDING)) {
            *tag = Tag(tag.0 & !Tag::PENDING);
        }
        for (begun, row) in self.begun.iter_mut().zip(rows) {
            *begun = row.counters;
        }
        let another = month(next) != month(self.head.day);
        self.head.day = next;
        self.add_up(rows, another);
        compiler_fence(Ordering::SeqCst);
        self.head.next = 0;
    }

    /// A place for a sum, the first from there on; else one of the oldest day, of which
    /// all are forgotten.
    fn free(&mut self, from: usize) -> Option<usize> {
        let found = |tags: &[Tag]| tags.iter().position(|&tag| tag == Tag::NONE);
        let tags = self.tags.get(from..).unwrap_or_default();
        if let Some(at) = found(tags).map(|at| from + at).or_else(|| found(self.tags)) {
            return Some(at);
        }
        let over = self.tags.iter().filter(|tag| !tag.is(Tag::PENDING));
        let oldest = over.map(|tag| tag.day()).min()?;
        let whole = |tag: &&mut Tag| tag.day() == oldest && !tag.is(Tag::PENDING);
        self.tags
            .iter_mut()
            .filter(whole)
            .for_each(|tag| *tag = Tag::NONE);
        found(self.tags)
    }

    /// What the months come to, by the sums of their days.
    pub(super) fn add_up(&mut self, rows: &[Row], another_month: bool) {
        let (today, first) = (self.head.day, month(self.head.day));
        for (row, month) in rows.iter().zip(self.months.iter_mut()) {
            month.others_today = Use::zeroed();
            month.others_month = Use::zeroed();
            if another_month {
                month.begun = Use::of(&row.counters);
            }
        }
        for (tag, sum) in self.tags.iter().zip(&*self.sums) {
            let Some(month) = self.months.get_mut(tag.row()) else {
                continue;
            };
            if tag.day() < first || tag.day() > today || tag.is(Tag::PENDING) {
                continue;
            }
            match tag.is(Tag::OTHERS) {
                true => {
                    month.others_month = month.others_month.plus(Use::of(sum));
                    if tag.day() == today {
                        month.others_today = Use::of(sum);
                    }
                }
                // The clock went back, to a month of which there is something.
                false if another_month => month.begun = month.begun.minus(Use::of(sum)),
                false => {}
            }
        }
    }

    /// What a service has used on the present day, and in its month.
    pub(super) fn used(&self, at: usize, row: &Row) -> (Use, Use) {
        let (Some(month), now) = (self.months.get(at), Use::of(&row.counters)) else {
            return Default::default();
        };
        let today = now.minus(Use::of(&self.begun[at]));
        (
            today.plus(month.others_today),
            now.minus(month.begun).plus(month.others_month),
        )
    }

    /// The first bound that a service has come to, how much it has used, and whether
    /// that is told for the first time.
    pub(super) fn passed(&mut self, at: usize, row: &Row, quota: &Quota) -> Option<Passed> {
        let used = self.used(at, row);
        let reached = |limit: &&Limit| limit.used(&used) >= limit.most;
        let limit = *quota.limits().iter().find(reached)?;
        let since = match limit.period {
            Period::Day => self.today(),
            Period::Month => self.today().month(),
        };
        let told = &mut self.months.get_mut(at)?.told[limit.kind()];
        let is_news = *told != since.number();
        *told = since.number();
        Some(Passed {
            limit,
            used: limit.used(&used),
            is_news,
        })
    }

    /// Adds what has been counted before: all together, and of it by day.
    pub(super) fn add_past(
        &mut self,
        at: usize,
        total: &Counters,
        days: impl Iterator<Item = (Day, Counters)>,
    ) {
        let today = self.today();
        let (mut past, mut before_month) = (*total, Use::of(total));
        for (day, sum) in days {
            if day >= today.month() {
                before_month = before_month.minus(Use::of(&sum));
            }
            if day >= today {
                past = past.since(&sum);
            } else if day >= today.before(KEPT_DAYS) {
                let tag = Tag::new(day.number().into(), at, 0);
                let known = self.tags.iter().position(|&known| known == tag);
                if let Some(place) = known.or_else(|| self.free(0)) {
                    let sums = &mut self.sums[place];
                    *sums = if known.is_some() {
                        sums.plus(&sum)
                    } else {
                        sum
                    };
                    self.tags[place] = tag;
                }
            }
        }
        self.begun[at] = self.begun[at].plus(&past);
        if let Some(month) = self.months.get_mut(at) {
            month.begun = month.begun.plus(before_month);
        }
    }

    /// Writes down what other machines have counted for a row on a day.
    pub(super) fn set_others(&mut self, rows: &[Row], at: usize, day: Day, sum: &Counters) -> bool {
        let number = u64::from(day.number());
        let tag = Tag::new(number, at, Tag::OTHERS);
        let known = self.tags.iter().position(|&known| known == tag);
        let Some(place) = known.or_else(|| self.free(0)) else {
            return false;
        };
        if self.sums[place] == *sum && known.is_some() {
            return true;
        }
        self.sums[place] = *sum;
        compiler_fence(Ordering::SeqCst);
        self.tags[place] = tag;
        self.add_up(rows, false);
        true
    }

    /// How many sums there are.
    pub(super) fn kept(&self) -> usize {
        self.tags.iter().filter(|&&tag| tag != Tag::NONE).count()
    }

    /// Raises what other machines have counted for a row on a day, and leaves it to the
    /// caller to add up. `false` if there is no room but for days after it.
    pub(super) fn raise_others(&mut self, at: usize, day: Day, sum: &Counters) -> bool {
        let tag = Tag::new(day.number().into(), at, Tag::OTHERS);
        if let Some(known) = self.tags.iter().position(|&known| known == tag) {
            self.sums[known] = self.sums[known].highest(sum);
            return true;
        }
        let is_full = !self.tags.contains(&Tag::NONE);
        if is_full && self.tags.iter().all(|tag| tag.day() >= day.number().into()) {
            return false;
        }
        let Some(place) = self.free(0) else {
            return false;
        };
        self.sums[place] = *sum;
        compiler_fence(Ordering::SeqCst);
        self.tags[place] = tag;
        true
    }

    /// The present day.
    pub(super) fn today(&self) -> Day {
        Day::from_number(self.head.day)
    }

    /// The first day of which something is kept; `None` before the first request.
    pub(super) fn first(&self) -> Option<Day> {
        let days = self.sums(false).chain(self.sums(true)).map(|(day, ..)| day);
        let today = (self.head.day != 0).then(|| self.today());
        days.chain(today).min()
    }

    /// The sums of days that are over, or of other machines: day, row, sum.
    pub(super) fn sums(&self, others: bool) -> impl Iterator<Item = (Day, usize, &Counters)> {
        let tags = self.tags.iter().zip(&*self.sums);
        tags.filter(move |(tag, _)| {
            **tag != Tag::NONE && !tag.is(Tag::PENDING) && tag.is(Tag::OTHERS) == others
        })
        .map(|(tag, sum)| (Day::from_number(tag.day()), tag.row(), sum))
    }
}

fn month(day: u64) -> u64 {
    Day::from_number(day).month().number().into()
}
