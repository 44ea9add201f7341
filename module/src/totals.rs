//! The totals of all workers: what a request adds at its end, and what Prometheus is
//! told of them.

use nginx_safe::{Answer, Content, Level, Request, SharedZone};
use openai_core::circuit::Counts;
use openai_core::clients::Client;
use openai_core::metrics::{
    ACTIVE_SECONDS, Board, ByDay, CONTENT_TYPE, Counters, Day, Figures, Http, Live, LiveCircuit,
    LiveKey, LivePool, LiveQuota, Outcome, Passed, Record, Report, Request as Done,
};
use openai_core::redlock::share::{RowId, Sums};
use openai_wire::ApiError;
use serde_json::json;

use crate::Openai;
use crate::adapter::now;
use crate::conf::{Location, Main, Pool, Store};
use crate::ctx::{Context, LeaseStatus};
use crate::locks;
use crate::log::event;
use crate::phase::target;
use crate::usage;
use crate::worker;

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

/// Adds a request that has ended: once.
pub fn add(request: &Request<'_>) {
    let (Some(main), Some(place)) = (request.main_conf::<Openai>(), request.location::<Openai>())
    else {
        return;
    };
    let ctx = request.recalled::<Openai>();
    let Some(shared) = main
        .totals
        .shared
        .filter(|_| place.is_gateway() || ctx.is_some())
    else {
        return;
    };
    if ctx.is_some_and(|ctx| ctx.counted.replace(true)) {
        return;
    }
    let http = (!request.is_subrequest())
        .then(|| Http::new(request.method(), request.path(), request.answer_status()));
    let key = ctx.and_then(|ctx| ctx.lease.get()).and_then(|lease| {
        let pool = main.pools.get(lease.pool)?;
        pool.keys.get(lease.grant.key)
    });
    let asked = ctx.and_then(|ctx| {
        let leased = ctx.lease.get().and_then(|lease| main.pools.get(lease.pool));
        let meant = || target::pool(ctx, main).or_else(|| target::first_pool(place, main));
        let pool = match leased {
            Some(pool) => pool,
            None if place.sends() => meant()?.1,
            None => return None,
        };
        let key = key.as_ref().map_or("", |key| key.id.as_str());
        Some(done(request, place, main, ctx, pool, key))
    });
    let now = now();
    let record = Record {
        http,
        day: Day::of(now.wall_us),
        ended_ms: now.mono_ms,
        duration_ms: request.age_ms(),
        request: asked,
    };
    if record.http.is_some() || record.request.is_some() {
        let client = ctx.and_then(|ctx| client(ctx, main));
        change(shared, |board| {
            board.add(&record);
            if let Some(client) = client {
                board.see(&client.name, now.wall_us / 1_000_000);
            }
        });
    }
}

/// Whose request it is.
pub fn client<'a>(ctx: &Context, main: &'a Main) -> Option<&'a Client> {
    main.clients.as_ref()?.as_slice().get(ctx.client.get()?)
}

fn done<'a>(
    request: &Request<'a>,
    place: &Location,
    main: &'a Main,
    ctx: &'a Context,
    pool: &'a Pool,
    key: &'a str,
) -> Done<'a> {
    let client = client(ctx, main);
    let lease = ctx.lease.get();
    let model = usage::model(main, ctx);
    let used = usage::of(request, ctx);
    usage::note_nonsense(ctx, &pool.name, model);
    let asked = ctx.status.get() != LeaseStatus::None;
    Done {
        service: client.map_or("", |client| client.name.as_str()),
        pool: &pool.name,
        key,
        model,
        known_model: main.prices.as_ref().is_some_and(|p| p.knows(model)),
        outcome: outcome(request, ctx, place),
        attempts: ctx.attempts.get(),
        tokens: used.tokens,
        source: used.source,
        cost: usage::cost(main, ctx, used),
        wait_ms: asked.then(|| ctx.waited_ms()),
        hold_ms: lease.and_then(|_| ctx.held_ms()),
        first_token_ms: usage::first_token_ms(ctx),
    }
}

/// nginx's status of a request whose client left before an answer.
pub const CLIENT_LEFT: u16 = 499;

fn outcome(request: &Request<'_>, ctx: &Context, place: &Location) -> Outcome {
    match (ctx.status.get(), ctx.refusal.get()) {
        (LeaseStatus::Lost, _) => return Outcome::LeaseLost,
        (
            _,
            Some(
                ApiError::NoKeyAvailable { .. }
                | ApiError::QueueFull { .. }
                | ApiError::KeysRateLimited { .. },
            ),
        ) => return Outcome::NoKey,
        (
            _,
            Some(
                ApiError::LockUnavailable { .. }
                | ApiError::NoHealthyKey { .. }
                | ApiError::UpstreamsOpen { .. },
            ),
        ) => return Outcome::Unavailable,
        (_, Some(_)) => return Outcome::Refused,
        _ => {}
    }
    let left = ctx.status.get() == LeaseStatus::Waiting
        || ctx.left.get()
        || request.answer_status() == CLIENT_LEFT
        || (!ctx.complete.get() && request.client_is_gone());
    if left {
        return Outcome::Aborted;
    }
    match (ctx.lease.get().is_some(), ctx.answered.get()) {
        (false, _) => Outcome::Refused,
        // A lock has been taken: there is no upstream.
        _ if place.api.is_served() => Outcome::Success,
        (true, None) => Outcome::UpstreamError,
        (true, Some(_)) if !ctx.complete.get() => Outcome::Incomplete,
        (true, Some(429)) => Outcome::RateLimited,
        (true, Some(500..)) => Outcome::UpstreamError,
        (true, Some(400..)) => Outcome::ClientError,
        (true, Some(_)) => Outcome::Success,
    }
}

/// What answers where `openai_metrics` stands.
pub struct Metrics;

impl Content for Metrics {
    fn answer(request: Request<'_>) -> Answer {
        // Where no token is asked for, the location says who may see all of it.
        let client = request
            .main_conf::<Openai>()
            .zip(request.recalled::<Openai>());
        let client = client.and_then(|(main, ctx)| {
            let clients = main.clients.as_ref()?.as_slice();
            clients.get(ctx.client.get()?)
        });
        let service = client.and_then(Client::sees_only);
        let text = request
            .main_conf::<Openai>()
            .and_then(|main| text(main, service));
        match text {
            Some(text) => Answer {
                status: 200,
                media_type: CONTENT_TYPE.as_bytes(),
                headers: vec![],
                body: text.into_bytes().into(),
            },
            None => Answer {
                status: 503,
                media_type: b"text/plain",
                headers: vec![],
                body: [].as_slice().into(),
            },
        }
    }
}

/// How many nodes of its group can vote as this worker sees them, and how many there are.
fn nodes(pool: &Pool) -> Option<(u32, u32)> {
    let Store::Redlock { group, names, .. } = &pool.store else {
        return None;
    };
    let told = locks::nodes(*group, names)?;
    let up = told.split(',').filter(|&state| state == "up").count();
    Some((up as u32, told.split(',').count() as u32))
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

/// The metrics, or those that are about one service.
fn text(main: &Main, service: Option<&str>) -> Option<String> {
    let standing = worker::standing(main.taken_over()?)?;
    let pools = main.pools.iter().zip(&standing.gauges);
    let pools: Vec<_> = pools
        .map(|(pool, now)| LivePool {
            name: &pool.name,
            held: now.held,
            waiting: now.waiting,
            slots: now.slots,
            nodes: nodes(pool),
        })
        .collect();
    let keys: Vec<_> = standing
        .keys
        .iter()
        .filter_map(|&(at, view)| {
            let pool = main.pools.get(at)?;
            Some((pool, pool.keys.get(view.key)?, view))
        })
        .collect();
    let keys: Vec<_> = keys
        .iter()
        .map(|(pool, key, view)| LiveKey {
            pool: &pool.name,
            id: &key.id,
            view: *view,
        })
        .collect();
    let upstreams = main.upstreams.borrow();
    let circuits: Vec<_> = upstreams
        .iter()
        .zip(&standing.circuits)
        .filter_map(|(upstream, status)| {
            Some(LiveCircuit {
                upstream: &upstream.name,
                status: (*status)?,
            })
        })
        .collect();
    let clients = main.clients.iter().flat_map(|clients| clients.as_slice());
    let bounded: Vec<_> = clients.filter(|c| !c.quota.limits().is_empty()).collect();
    let today = Day::of(now().wall_us);
    // The text is made of a copy: nobody waits for it.
    let (copy, used, active_users) = change(main.totals.shared?, |board| {
        let used = bounded
            .iter()
            .map(|client| board.used_by(&client.name, today));
        let used: Vec<_> = used.collect();
        let since = (now().wall_us / 1_000_000).saturating_sub(ACTIVE_SECONDS);
        (board.snapshot(), used, board.seen_since(since.max(1)))
    })?;
    let quotas = bounded.iter().zip(&used).flat_map(|(client, used)| {
        client.quota.limits().iter().map(|limit| LiveQuota {
            service: &client.name,
            limit: *limit,
            used: limit.used(used),
        })
    });
    let quotas: Vec<_> = quotas.collect();
    let live = Live {
        version: env!("CARGO_PKG_VERSION"),
        pools: &pools,
        keys: &keys,
        circuits: &circuits,
        quotas: &quotas,
        active_users,
    };
    copy.render(&live, service)
}
