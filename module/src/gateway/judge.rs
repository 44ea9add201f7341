//! Failover: an attempt that another key may cure is made again, before the client
//! has seen anything of it.

use nginx_safe::{AnswerHead, Attempt, Level, Request};
use openai_core::attempts::Fault;
use openai_core::circuit::Outcome;
use openai_core::lease::{Outlook, Report, Turn};
use openai_wire::limits::forbids_retry;
use openai_wire::{ApiError, ErrorHead, Limits, Verdict, verdict};
use serde_json::json;

use super::{events, route};
use crate::config::{Location, Main};
use crate::gateway::{Context, Stage};
use crate::pool::circuits;
use crate::pool::locks;
use crate::pool::{self, Lease};
use crate::telemetry::now;

/// An attempt that is under way, with the key that it has.
struct Running<'a> {
    request: Request<'a>,
    ctx: &'a Context,
    place: &'a Location,
    main: &'a Main,
    lease: Lease,
}

/// How an attempt has failed.
#[derive(Clone, Copy)]
struct Failed {
    fault: Fault,
    verdict: Verdict,
    /// Whether that tells nothing: the upstream has closed a connection while it was idle.
    stale: bool,
    /// Whether nothing can be sent with the key for now.
    key_is_out: bool,
}

/// The upstream's answer begins: it is judged, and kept or not.
pub fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> Attempt {
    let Some(running) = running(request) else {
        return Attempt::Keep;
    };
    let status = head.status();
    let judged_by_body = matches!(status, 401..=403 | 429);
    let body = if judged_by_body { head.body() } else { &[] };
    if judged_by_body && head.may_grow() && ErrorHead::of(body).code.is_none() {
        return Attempt::Undecided;
    }
    let verdict = verdict(status, body);
    let mut limits = Limits::default();
    let mut is_final = false;
    let wall_ms = now().wall_us / 1_000;
    for (name, value) in head.headers() {
        limits.header(name, value, wall_ms);
        is_final |= forbids_retry(name, value);
    }
    let key_is_out = running.report(verdict, limits, status);
    // What a client can bring about with any key, another key does not cure. And what the
    // upstream says of a key that it does not take is not about another key.
    let cured = !(judged_by_body && verdict == Verdict::Refused);
    if status < 400 || !cured || (is_final && !is_unusable(verdict)) {
        return Attempt::Keep;
    }
    running.next(Failed {
        fault: Fault::Status(status),
        verdict,
        stale: false,
        key_is_out,
    })
}

/// Whether the key is of no use to any request.
fn is_unusable(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Revoked | Verdict::Exhausted)
}

/// No answer has come.
pub fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> Attempt {
    let fault = match status {
        502 => Fault::Error,
        504 => Fault::Timeout,
        _ => return Attempt::Keep,
    };
    let Some(running) = running(request) else {
        return Attempt::Keep;
    };
    let stale = reused && fault == Fault::Error;
    if stale {
        running
            .ctx
            .pass
            .take()
            .inspect(|&pass| circuits::unknown(pass));
        running.ctx.verdict.set(Some(Verdict::Faulty));
    } else {
        running.report(Verdict::Faulty, Limits::default(), 0);
    }
    running.next(Failed {
        fault,
        verdict: Verdict::Faulty,
        stale,
        key_is_out: false,
    })
}

/// The connection is closed: the key is of no use to the request any more.
pub fn attempt_over(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        ctx.let_go();
        ctx.stage.set(match ctx.refusal.get() {
            None => Stage::Again,
            Some(_) => Stage::Refused,
        });
    }
}

fn running(request: Request<'_>) -> Option<Running<'_>> {
    let ctx = request.recalled::<Context>()?;
    ctx.holds.get().then_some(())?;
    Some(Running {
        request,
        ctx,
        place: request.location::<Location>()?,
        main: request.main_conf::<Main>()?,
        lease: ctx.lease.get()?,
    })
}

impl Running<'_> {
    fn key_id(&self) -> Option<String> {
        let key = self.ctx.key.borrow();
        key.as_ref().map(|key| key.id.clone())
    }

    /// Tells the zone what the attempt says of the key; whether that is out now.
    fn report(&self, verdict: Verdict, limits: Limits, status: u16) -> bool {
        self.ctx.verdict.set(Some(verdict));
        let random = match verdict {
            Verdict::Limited | Verdict::Faulty => pool::random(),
            _ => 0,
        };
        let outcome = match verdict {
            Verdict::Faulty if route::fails_again(self.ctx) => Outcome::FaultyAgain,
            Verdict::Faulty => Outcome::Faulty,
            _ => Outcome::Good,
        };
        let report = Report {
            verdict,
            limits,
            status,
            random,
        };
        let pass = self.ctx.pass.take();
        let told = pool::in_zone(|zone| {
            let change = pass.and_then(|pass| zone.outcome(pass, outcome, now(), random));
            let turn = zone.report(&self.lease.grant, &report, now());
            (turn, change, zone.is_out(self.lease.grant.key, now()))
        });
        let (turn, change, is_out) = told.unwrap_or_default();
        if let Some((pass, change)) = pass.zip(change) {
            circuits::tell(self.main, pass.circuit, change);
        }
        let pool = self.main.pools.get(self.lease.pool).map(|pool| &pool.name);
        match turn {
            Some(Turn::Out {
                cause,
                until_ms,
                failures,
            }) => {
                let fields = json!({
                    "pool": pool,
                    "key_id": self.key_id(),
                    "cause": cause.as_str(),
                    "for_ms": until_ms.saturating_sub(now().mono_ms),
                    "failures": failures,
                    "status": status,
                });
                self.tell(Level::Warn, "key_out", fields);
                locks::put_out(self.lease.grant.key, cause, failures, until_ms);
            }
            Some(Turn::Sound) => {
                let fields = json!({ "pool": pool, "key_id": self.key_id() });
                self.tell(Level::Notice, "key_back", fields);
            }
            None => {}
        }
        is_out
    }

    fn tell(&self, level: Level, name: &str, fields: serde_json::Value) {
        events::tell(&self.request, self.ctx, level, name, fields);
    }

    /// Whether the request is to be sent again, or what else becomes of it.
    fn next(&self, failed: Failed) -> Attempt {
        let (ctx, next) = (self.ctx, self.place.next_key());
        let Failed { fault, verdict, .. } = failed;
        if !next.cures(fault) || self.request.is_subrequest() || ctx.left.get() {
            return Attempt::Keep;
        }
        let unusable = is_unusable(verdict) && failed.key_is_out;
        if unusable || failed.stale {
            ctx.uncounted.set(ctx.uncounted.get() + 1);
        }
        if !unusable {
            let mut avoid = ctx.avoid.get();
            avoid.push(self.lease.grant.key);
            ctx.avoid.set(avoid);
        }
        if verdict == Verdict::Faulty && !failed.stale {
            route::note_error(ctx, fault);
        }
        let over = self.is_over(failed);
        let what = match fault {
            Fault::Error => json!("error"),
            Fault::Timeout => json!("timeout"),
            Fault::Status(status) => json!(status),
        };
        let fields = json!({
            "key_id": self.key_id(),
            "attempt": ctx.attempts.get(),
            "fault": what,
            "again": over.is_none(),
        });
        self.tell(Level::Warn, "attempt_failed", fields);
        match over {
            None => Attempt::Over,
            Some(None) => Attempt::Keep,
            Some(Some(refusal)) => {
                ctx.refusal.set(Some(refusal));
                Attempt::Over
            }
        }
    }

    /// Why there is no use in another attempt, if so: with the answer that the
    /// client gets in place of the upstream's.
    ///
    /// An answer that tells of the key is not for the client: its own token is in
    /// order, and others of the gateway's keys may be free sooner.
    fn is_over(&self, failed: Failed) -> Option<Option<ApiError>> {
        let (ctx, next, verdict) = (self.ctx, self.place.next_key(), failed.verdict);
        let since = now().mono_ms.saturating_sub(ctx.first_asked_ms.get());
        let counted = ctx.attempts.get().saturating_sub(ctx.uncounted.get());
        let unusable = is_unusable(verdict);
        if counted >= next.tries() || since >= next.timeout_ms() {
            return Some(unusable.then(|| self.no_healthy_key()));
        }
        let refusal = match route::next(&self.request, ctx, self.main) {
            Ok(at) => {
                if verdict == Verdict::Faulty && !failed.stale {
                    ctx.pause_ms.set(route::pause_ms(&self.request, ctx, at));
                }
                return None;
            }
            Err(refusal) => refusal,
        };
        // The only key's own word on when it returns is the best there is.
        let pool = self.main.pools.get(self.lease.pool);
        let only = pool.is_none_or(|pool| pool.keys.len() == 1);
        let own = unusable || (verdict == Verdict::Limited && !only);
        Some(own.then_some(refusal))
    }

    /// There has been no time, or no more attempts, to look for one.
    fn no_healthy_key(&self) -> ApiError {
        let known = self.main.taken_over();
        let avoid = self.ctx.avoid.get();
        let outlook = known.and_then(|known| pool::outlook(known, self.lease.pool, avoid));
        let soonest_ms = match outlook {
            Some(Outlook::Unhealthy { soonest_ms } | Outlook::Cooling { soonest_ms }) => soonest_ms,
            _ => 0,
        };
        let retry_after = route::seconds(soonest_ms);
        ApiError::NoHealthyKey { retry_after }
    }
}
