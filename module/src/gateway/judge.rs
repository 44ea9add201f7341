//! Failover: an attempt that another key may cure is made again, before the client
//! has seen anything of it.

use nginx_safe::{AnswerHead, AttemptDecision, Level, Request};
use openai_core::attempts::Fault;
use openai_core::circuit::CircuitOutcome;
use openai_core::lease::{AttemptReport, KeyChange, Outlook};
use openai_wire::limits::forbids_retry;
use openai_wire::{ApiError, ErrorHead, Limits, Verdict, verdict};
use serde_json::json;

use super::refusal::seconds;
use super::{Context, Exchange, Stage, events, route};
use crate::config::Pool;
use crate::pool::{self, Lease, circuits, locks};
use crate::telemetry::now;

/// An attempt that is under way, with the key that it has.
struct Running<'a> {
    exchange: Exchange<'a>,
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
    key_is_cooling: bool,
}

/// The upstream's answer begins: it is judged, and kept or not.
pub fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> AttemptDecision {
    let Some(running) = running(request) else {
        return AttemptDecision::Keep;
    };
    let status = head.status();
    let judged_by_body = matches!(status, 401..=403 | 429);
    let body = if judged_by_body { head.body() } else { &[] };
    if judged_by_body && head.may_grow() && ErrorHead::of(body).code.is_none() {
        return AttemptDecision::Undecided;
    }
    let verdict = verdict(status, body);
    let mut limits = Limits::default();
    let mut is_final = false;
    let wall_ms = now().wall_us / 1_000;
    for (name, value) in head.headers() {
        limits.header(name, value, wall_ms);
        is_final |= status >= 400 && forbids_retry(name, value);
    }
    let key_is_cooling = running.report(verdict, limits, status);
    // What a client can bring about with any key, another key does not cure. And what the
    // upstream says of a key that it does not take is not about another key.
    let cured = !(judged_by_body && verdict == Verdict::ClientError);
    if status < 400 || !cured || (is_final && !is_unusable(verdict)) {
        return AttemptDecision::Keep;
    }
    running.next(Failed {
        fault: Fault::Status(status),
        verdict,
        stale: false,
        key_is_cooling,
    })
}

/// Whether the verdict excludes the key from all requests: it is invalid or out of quota.
fn is_unusable(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::InvalidKey | Verdict::QuotaExceeded)
}

/// No answer has come.
pub fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> AttemptDecision {
    let fault = match status {
        502 => Fault::Error,
        504 => Fault::Timeout,
        _ => return AttemptDecision::Keep,
    };
    let Some(running) = running(request) else {
        return AttemptDecision::Keep;
    };
    let stale = reused && fault == Fault::Error;
    if stale {
        let ctx = running.exchange.ctx;
        ctx.permit
            .take()
            .inspect(|&permit| circuits::unknown(permit));
        ctx.retries.borrow_mut().verdict = Some(Verdict::UpstreamError);
    } else {
        running.report(Verdict::UpstreamError, Limits::default(), 0);
    }
    running.next(Failed {
        fault,
        verdict: Verdict::UpstreamError,
        stale,
        key_is_cooling: false,
    })
}

/// Releases the lease of an attempt whose upstream connection is closed.
pub fn attempt_over(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        ctx.let_go();
        ctx.stage.set(match ctx.refusal.get() {
            None => Stage::Again,
            Some(refusal) => Stage::Refused(refusal),
        });
    }
}

fn running(request: Request<'_>) -> Option<Running<'_>> {
    let exchange = Exchange::of(request)?;
    let lease = exchange.ctx.held()?;
    Some(Running { exchange, lease })
}

impl Running<'_> {
    /// The pool of the lease.
    fn pool(&self) -> Option<&Pool> {
        self.exchange.main.pools.get(self.lease.pool)
    }

    /// Tells the zone what the attempt says of the key; whether that is out now.
    fn report(&self, verdict: Verdict, limits: Limits, status: u16) -> bool {
        let Exchange { ctx, main, .. } = self.exchange;
        ctx.retries.borrow_mut().verdict = Some(verdict);
        let random = match verdict {
            Verdict::RateLimited | Verdict::UpstreamError => pool::random(),
            _ => 0,
        };
        let outcome = match verdict {
            Verdict::UpstreamError if route::fails_again(ctx) => CircuitOutcome::RepeatedFailure,
            Verdict::UpstreamError => CircuitOutcome::Failure,
            _ => CircuitOutcome::Success,
        };
        let report = AttemptReport {
            verdict,
            limits,
            status,
            random,
        };
        let permit = ctx.permit.take();
        let told = pool::in_zone(|zone| {
            let change = permit.and_then(|permit| zone.outcome(permit, outcome, now(), random));
            let turn = zone.report(&self.lease.grant, &report, now());
            (
                turn,
                change,
                zone.is_cooling_down(self.lease.grant.key, now()),
            )
        });
        let (turn, change, is_cooling_down) = told.unwrap_or_default();
        if let Some((permit, change)) = permit.zip(change) {
            circuits::tell(main, permit.circuit, change);
        }
        let pool = self.pool().map(|pool| &pool.name);
        match turn {
            Some(KeyChange::CoolingDown {
                cause,
                until_ms,
                failures,
            }) => {
                let fields = json!({
                    "pool": pool,
                    "key_id": ctx.key_id(),
                    "cause": cause.as_str(),
                    "for_ms": until_ms.saturating_sub(now().mono_ms),
                    "failures": failures,
                    "status": status,
                });
                self.tell(Level::Warn, "key_cooling_down", fields);
                locks::announce_cool_down(self.lease.grant.key, cause, failures, until_ms);
            }
            Some(KeyChange::Recovered) => {
                let fields = json!({ "pool": pool, "key_id": ctx.key_id() });
                self.tell(Level::Notice, "key_recovered", fields);
            }
            None => {}
        }
        is_cooling_down
    }

    fn tell(&self, level: Level, name: &str, fields: serde_json::Value) {
        let Exchange { request, ctx, .. } = self.exchange;
        events::tell(&request, ctx, level, name, fields);
    }

    /// Whether the request is to be sent again, or what else becomes of it.
    fn next(&self, failed: Failed) -> AttemptDecision {
        let Exchange {
            request,
            ctx,
            location,
            ..
        } = self.exchange;
        let Failed { fault, verdict, .. } = failed;
        let is_left = ctx.attempt.borrow().answer.is_left;
        if !location.next_key().cures(fault) || request.is_subrequest() || is_left {
            return AttemptDecision::Keep;
        }
        let unusable = is_unusable(verdict) && failed.key_is_cooling;
        let attempt = {
            let mut retries = ctx.retries.borrow_mut();
            if unusable || failed.stale {
                retries.uncounted += 1;
            }
            if !unusable {
                retries.avoid.push(self.lease.grant.key);
            }
            retries.attempts
        };
        if verdict == Verdict::UpstreamError && !failed.stale {
            route::note_error(ctx, fault);
        }
        let over = self.is_over(failed);
        let what = match fault {
            Fault::Error => json!("error"),
            Fault::Timeout => json!("timeout"),
            Fault::Status(status) => json!(status),
        };
        let fields = json!({
            "key_id": ctx.key_id(),
            "attempt": attempt,
            "fault": what,
            "again": over.is_none(),
        });
        self.tell(Level::Warn, "attempt_failed", fields);
        match over {
            None => AttemptDecision::Over,
            Some(None) => AttemptDecision::Keep,
            Some(Some(refusal)) => {
                ctx.refusal.set(Some(refusal));
                AttemptDecision::Over
            }
        }
    }

    /// Why there is no use in another attempt, if so: with the answer that the
    /// client gets in place of the upstream's.
    ///
    /// An answer that tells of the key is not for the client: its own token is in
    /// order, and others of the gateway's keys may be free sooner.
    fn is_over(&self, failed: Failed) -> Option<Option<ApiError>> {
        let (ctx, verdict) = (self.exchange.ctx, failed.verdict);
        let next = self.exchange.location.next_key();
        let (since, counted) = {
            let retries = ctx.retries.borrow();
            (
                now().mono_ms.saturating_sub(retries.first_asked_ms),
                retries.attempts.saturating_sub(retries.uncounted),
            )
        };
        let unusable = is_unusable(verdict);
        if counted >= next.tries() || since >= next.timeout_ms() {
            return Some(unusable.then(|| self.no_healthy_key()));
        }
        let refusal = match route::next(self.exchange) {
            Ok(at) => {
                if verdict == Verdict::UpstreamError && !failed.stale {
                    let pause_ms = route::pause_ms(self.exchange, at);
                    ctx.retries.borrow_mut().pause_ms = pause_ms;
                }
                return None;
            }
            Err(refusal) => refusal,
        };
        // The only key's own word on when it returns is the best there is.
        let only = self.pool().is_none_or(|pool| pool.keys.len() == 1);
        let own = unusable || (verdict == Verdict::RateLimited && !only);
        Some(own.then_some(refusal))
    }

    /// There has been no time, or no more attempts, to look for one.
    fn no_healthy_key(&self) -> ApiError {
        let known = self.exchange.main.taken_over();
        let avoid = self.exchange.ctx.retries.borrow().avoid;
        let outlook = known.and_then(|known| pool::outlook(known, self.lease.pool, avoid));
        let soonest_ms = match outlook {
            Some(Outlook::Unhealthy { soonest_ms } | Outlook::CoolingDown { soonest_ms }) => {
                soonest_ms
            }
            _ => 0,
        };
        let retry_after = seconds(soonest_ms);
        ApiError::NoHealthyKey { retry_after }
    }
}
