//! What is counted of all requests, in the zone that all workers share.

use nginx_safe::{ConfResult, Level, SharedZone, ZoneContent};
use openai_core::circuit::Counts;
use openai_core::clients::Client;
use openai_core::metrics::{Board, ByDay, Counters, Day, Figures, Passed, Record, Report};
use openai_core::redlock::share::{RowId, Sums};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use super::{event, now};
use crate::config::{Main, Pool, Totals};

impl ZoneContent for Totals {
    const DIRECTIVE: &'static str = "openai_stats";
    const KIND: usize = 1;

    fn channels(&self) -> usize {
        0
    }

    fn format(&self, bytes: &mut [u8]) -> ConfResult {
        let number = StdRng::from_os_rng().next_u64();
        let made = Board::format(bytes).map(|mut board| board.identity().instance = number);
        made.map_err(|e| format!("openai_stats \"{}\": {e}", self.name()))
    }

    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult {
        let board = Board::open(bytes);
        let mut board = board.map_err(|e| format!("openai_stats \"{}\": {e}", self.name()))?;
        if interrupted {
            board.recover();
        }
        Ok(())
    }
}

pub fn change<T>(shared: SharedZone, act: impl FnOnce(&mut Board<'_>) -> T) -> Option<T> {
    shared.with(|bytes, interrupted| {
        let mut board = Board::open(bytes).ok()?;
        if interrupted {
            // A process died while it added to the totals.
            board.recover();
        }
        Some(act(&mut board))
    })?
}

/// Has the totals begin at zero for all that the configuration names.
pub fn introduce(main: &Main) {
    let Some(shared) = main.totals.shared else {
        return;
    };
    change(shared, |board| {
        for client in main.clients.iter().flat_map(|clients| clients.as_slice()) {
            board.introduce(Some(&client.name), None);
        }
        for pool in &main.pools {
            for key in pool.keys.newest() {
                board.introduce(None, Some((&pool.name, key.id.as_str())));
            }
        }
    });
}

/// What other machines know the totals by.
pub fn instance(shared: SharedZone) -> Option<u64> {
    change(shared, |board| board.identity().instance)
}

/// What has been counted here, by day and the name of the row, from a day on.
pub fn by_day(shared: SharedZone, since: Day) -> ByDay {
    let rows = change(shared, |board| board.rows_by_day(since).collect::<Vec<_>>());
    let mut sums = ByDay::new();
    for (day, name, counters) in rows.into_iter().flatten() {
        let sum = sums.entry((day, name)).or_default();
        *sum = sum.plus(&counters);
    }
    sums
}

/// Notes what other machines have counted; for how much of it there is no room.
pub fn raise_others(shared: SharedZone, today: Day, rows: &[(RowId, Sums)]) -> Option<usize> {
    let rows = rows.iter().map(|(row, sums)| {
        let day = Day::from_number(row.day.into());
        (day, &*row.name, Counters::from_sums(sums))
    });
    change(shared, |board| board.raise_others(today, rows))
}

/// What has been counted since a day, of all services or of one.
pub fn figures(main: &Main, since: Option<Day>, service: Option<&str>) -> Option<Figures> {
    let today = Day::of(now().wall_us);
    change(main.totals.shared?, |board| {
        board.figures(today, since, service)
    })
}

/// Whether a client has used as much as it may; the first time it is told in the log.
pub fn is_used_up(main: &Main, client: &Client) -> bool {
    if client.quota.limits().is_empty() {
        return false;
    }
    let today = Day::of(now().wall_us);
    let Some(shared) = main.totals.shared else {
        return false;
    };
    let passed = change(shared, |board| {
        board.passed(&client.name, &client.quota, today)
    });
    let Some(Passed {
        limit,
        used,
        is_news,
    }) = passed.flatten()
    else {
        return false;
    };
    if is_news {
        let fields = json!({
            "service_name": client.name,
            "quota": limit.measure(),
            "period": limit.period(),
            "limit": limit.shown(limit.most),
            "used": limit.shown(used),
        });
        event(Level::Warn, "quota_used_up", fields);
    }
    true
}

/// Adds what a service says it has done with a lock.
pub fn report(main: &Main, report: &Report<'_>) {
    if let Some(shared) = main.totals.shared {
        let day = Day::of(now().wall_us);
        change(shared, |board| board.report(day, report));
    }
}

/// Adds a request that has ended, and notes when its client was last seen.
pub fn add(shared: SharedZone, record: &Record<'_>, client: Option<&str>) {
    let seen = now().wall_us / 1_000_000;
    change(shared, |board| {
        board.add(record);
        if let Some(client) = client {
            board.see(client, seen);
        }
    });
}

/// The requests of pools in the last minute.
pub fn recent<'a>(main: &Main, pools: impl Iterator<Item = &'a Pool>) -> Vec<Counts> {
    let now_ms = now().mono_ms;
    let told = main.totals.shared.and_then(|shared| {
        change(shared, |board| {
            pools.map(|pool| board.recent(&pool.name, now_ms)).collect()
        })
    });
    told.unwrap_or_default()
}

/// What has been counted since the beginning, by service.
pub fn services(main: &Main) -> Vec<(String, Counters)> {
    let told = main
        .totals
        .shared
        .and_then(|shared| change(shared, |board| board.services()));
    told.unwrap_or_default()
}
