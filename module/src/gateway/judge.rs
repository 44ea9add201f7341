//! Failover: judges the response of an attempt, and decides whether to try another key
//! before the client receives any of it.

use std::borrow::Cow;

use nginx_safe::{AnswerHead, Level};
use openai_core::attempts::{
    AfterFailure, Failure, Fault, after_failure, may_be_retried, no_healthy_key,
};
use openai_core::circuit::CircuitOutcome;
use openai_core::lease::{AttemptReport, KeyChange};
use openai_wire::chunked::{Dechunked, dechunk};
use openai_wire::limits::forbids_retry;
use openai_wire::{ErrorHead, Limits, Verdict, depends_on_body, verdict};
use serde_json::json;

use super::{Exchange, Stage, Step, events};
use crate::pool::{self, Lease, circuits, locks, notes};
use crate::telemetry::now;

/// The response goes to the client.
const KEEP: Step = Step::Next(Stage::Done);

/// A running attempt with its lease.
struct Running<'a> {
    exchange: Exchange<'a>,
    lease: Lease,
}

/// Judges the upstream's response when its header has arrived.
pub(super) fn answer(exchange: Exchange<'_>, head: &AnswerHead<'_>) -> Step {
    let Some(running) = running(exchange) else {
        return KEEP;
    };
    let status = head.status();
    let by_body = depends_on_body(status);
    let (body, is_complete) = match by_body {
        true => received(head),
        false => (Cow::default(), true),
    };
    if !is_complete && ErrorHead::of(&body).code.is_none() {
        return Step::Wait(Stage::Done, None);
    }
    let verdict = verdict(status, &body);
    let mut limits = Limits::default();
    let mut is_final = false;
    let wall_ms = now().wall_us / 1_000;
    for (name, value) in head.headers() {
        limits.header(name, value, wall_ms);
        is_final |= status >= 400 && forbids_retry(name, value);
    }
    let key_is_cooling = running.report(verdict, limits, status);
    if !may_be_retried(status, verdict, by_body, is_final) {
        return KEEP;
    }
    running.next(Failure {
        fault: Fault::Status(status),
        verdict,
        stale: false,
        key_is_cooling,
    })
}

/// The part of the body that has been received, and whether no more of it can be.
fn received<'a>(head: &AnswerHead<'a>) -> (Cow<'a, [u8]>, bool) {
    let (body, may_grow) = (head.body(), head.may_grow());
    if !head.is_chunked() {
        return (body.into(), !may_grow);
    }
    let Dechunked { data, is_complete } = dechunk(body);
    (data.into(), is_complete || !may_grow)
}

/// Handles an attempt without a response. `status` is what nginx would answer, `reused` whether the
/// connection had been used before.
pub(super) fn no_answer(exchange: Exchange<'_>, status: u16, reused: bool) -> Step {
    let failure = Failure::without_response(status, reused);
    let Some((running, failure)) = running(exchange).zip(failure) else {
        return KEEP;
    };
    let verdict = failure.verdict;
    if failure.stale {
        running
            .set_verdict(verdict)
            .inspect(|&it| circuits::unknown(it));
    } else {
        running.report(verdict, Limits::default(), 0);
    }
    running.next(failure)
}

fn running(exchange: Exchange<'_>) -> Option<Running<'_>> {
    let lease = exchange.ctx.held()?;
    Some(Running { exchange, lease })
}

impl Running<'_> {
    /// Stores the verdict and takes the permit, with which the caller must report the result.
    fn set_verdict(&self, verdict: Verdict) -> Option<openai_core::circuit::Permit> {
        let mut attempt = self.exchange.ctx.attempt.borrow_mut();
        attempt.verdict = Some(verdict);
        attempt.permit.take()
    }

    /// Reports the attempt to the zone and logs changes of state. Returns whether the key
    /// is cooling down.
    fn report(&self, verdict: Verdict, limits: Limits, status: u16) -> bool {
        let Exchange { ctx, main, .. } = self.exchange;
        let random = match verdict {
            Verdict::RateLimited | Verdict::UpstreamError => pool::random(),
            _ => 0,
        };
        let again = verdict == Verdict::UpstreamError && ctx.fails_again();
        let outcome = CircuitOutcome::of(verdict, again);
        let report = AttemptReport {
            verdict,
            limits,
            status,
            random,
        };
        let permit = self.set_verdict(verdict);
        if notes::success(&self.lease.grant, &report, permit) {
            return false;
        }
        let changed = pool::in_zone(|zone| {
            let change = permit.and_then(|permit| zone.outcome(permit, outcome, now(), random));
            let turn = zone.report(&self.lease.grant, &report, now());
            let is_cooling_down = zone.is_cooling_down(self.lease.grant.key, now());
            (turn, change, is_cooling_down)
        });
        let (turn, change, is_cooling_down) = changed.unwrap_or_default();
        if let Some((permit, change)) = permit.zip(change) {
            circuits::log_change(main, permit.circuit, change);
        }
        let pool = main.pools.get(self.lease.pool).map(|pool| &pool.name);
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
                self.log(Level::Warn, "key_cooling_down", fields);
                locks::announce_cool_down(self.lease.grant.key, cause, failures, until_ms);
            }
            Some(KeyChange::Recovered) => {
                let fields = json!({ "pool": pool, "key_id": ctx.key_id() });
                self.log(Level::Notice, "key_recovered", fields);
            }
            None => {}
        }
        is_cooling_down
    }

    fn log(&self, level: Level, name: &str, fields: serde_json::Value) {
        let Exchange { request, ctx, .. } = self.exchange;
        events::write(&request, ctx, level, name, fields);
    }

    /// Decides what follows a failed attempt, and logs it.
    fn next(&self, failure: Failure) -> Step {
        let Exchange {
            request,
            ctx,
            location,
            ..
        } = self.exchange;
        let fault = failure.fault;
        let is_left = ctx.attempt.borrow().answer.draining.is_some();
        let limits = &location.next_key;
        if !limits.retries(fault) || request.is_subrequest() || is_left {
            return KEEP;
        }
        let (attempt, used_up) = {
            let same = ctx.same_upstream(ctx.route.borrow().chosen);
            let mut retries = ctx.retries.borrow_mut();
            retries.note(&failure, self.lease.grant.key, same);
            let (tries, timeout_ms) = (limits.tries(), limits.timeout_ms());
            let used_up = retries.are_used_up(tries, timeout_ms, now().mono_ms);
            (retries.attempts, used_up)
        };
        let only_key = pool::key_count(self.lease.pool).is_none_or(|keys| keys == 1);
        let after = after_failure(
            &failure,
            used_up,
            only_key,
            || self.exchange.next_target(),
            || no_healthy_key(self.exchange.outlook(self.lease.pool)),
        );
        let (what, status) = match fault {
            Fault::Error => ("error", None),
            Fault::Timeout => ("timeout", None),
            Fault::Status(status) => ("status", Some(status)),
        };
        let fields = json!({
            "key_id": ctx.key_id(),
            "attempt": attempt,
            "fault": what,
            "status": status,
            "retry": matches!(after, AfterFailure::Again(_)),
        });
        self.log(Level::Warn, "attempt_failed", fields);
        match after {
            AfterFailure::Again(target) => {
                let pause_ms = match failure.is_upstream_error() {
                    true => self.exchange.pause_ms(target),
                    false => 0,
                };
                Step::Retry { pause_ms }
            }
            AfterFailure::Keep => KEEP,
            AfterFailure::Refuse(refusal) => Step::Refuse(refusal),
        }
    }
}
