//! Failover: an attempt that another key may cure is made again, before the client
//! has seen anything of it.

use openai_core::circuit::Outcome;
use openai_core::lease::{Report, Turn};
use openai_core::openai::{ApiError, ErrorHead, Limits, Verdict, verdict};
use serde_json::json;

use super::{events, target};
use crate::Openai;
use crate::adapter::now;
use crate::circuits;
use crate::conf::{Fault, Location, Main};
use crate::ctx::{Context, Lease, Stage};
use crate::ffi::{AnswerHead, Attempt, Level, Request};
use crate::locks;
use crate::worker;

/// An attempt that is under way, with the key that it has.
struct Running<'a> {
    request: Request<'a>,
    ctx: &'a Context,
    place: &'a Location,
    main: &'a Main,
    lease: Lease,
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
    let wall_ms = now().wall_us / 1_000;
    for (name, value) in head.headers() {
        limits.header(name, value, wall_ms);
    }
    running.report(verdict, limits, status);
    // What a client can bring about with any key, another key does not cure.
    let cured = !(judged_by_body && verdict == Verdict::Refused);
    if status < 400 || !cured {
        return Attempt::Keep;
    }
    running.next(Fault::Status(status), verdict)
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
    if reused && fault == Fault::Error {
        // The upstream closed it while it was idle: that is no word on the request.
        running.ctx.stale.set(running.ctx.stale.get() + 1);
        running
            .ctx
            .pass
            .take()
            .inspect(|&pass| circuits::unknown(pass));
        running.ctx.verdict.set(Some(Verdict::Faulty));
    } else {
        running.report(Verdict::Faulty, Limits::default(), 0);
    }
    running.next(fault, Verdict::Faulty)
}

/// The connection is closed: the key is of no use to the request any more.
pub fn attempt_over(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Openai>() {
        ctx.let_go();
        ctx.stage.set(match ctx.refusal.get() {
            None => Stage::Again,
            Some(_) => Stage::Refused,
        });
    }
}

fn running(request: Request<'_>) -> Option<Running<'_>> {
    let ctx = request.recalled::<Openai>()?;
    ctx.holds.get().then_some(())?;
    Some(Running {
        request,
        ctx,
        place: request.location::<Openai>()?,
        main: request.main_conf::<Openai>()?,
        lease: ctx.lease.get()?,
    })
}

impl Running<'_> {
    fn key_id(&self) -> Option<String> {
        let key = self.ctx.key.borrow();
        key.as_ref().map(|key| key.id.clone())
    }

    /// Tells the zone what the attempt says of the key.
    fn report(&self, verdict: Verdict, limits: Limits, status: u16) {
        self.ctx.verdict.set(Some(verdict));
        let random = match verdict {
            Verdict::Limited | Verdict::Faulty => worker::random(),
            _ => 0,
        };
        let outcome = match verdict {
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
        let told = worker::in_zone(|zone| {
            let change = pass.and_then(|pass| zone.outcome(pass, outcome, now(), random));
            (zone.report(&self.lease.grant, &report, now()), change)
        });
        let (turn, change) = told.unzip();
        if let Some((pass, change)) = pass.zip(change.flatten()) {
            circuits::tell(self.main, pass.circuit, change);
        }
        let pool = self.main.pools.get(self.lease.pool).map(|pool| &pool.name);
        match turn.flatten() {
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
    }

    fn tell(&self, level: Level, name: &str, fields: serde_json::Value) {
        events::tell(&self.request, self.ctx, level, name, fields);
    }

    /// Whether the request is to be sent again, or what else becomes of it.
    fn next(&self, fault: Fault, verdict: Verdict) -> Attempt {
        let (ctx, next) = (self.ctx, self.place.next_key());
        if !next.cures(fault) || self.request.is_subrequest() || ctx.left.get() {
            return Attempt::Keep;
        }
        let mut avoid = ctx.avoid.get();
        avoid.push(self.lease.grant.key);
        ctx.avoid.set(avoid);
        if verdict == Verdict::Faulty {
            target::note_fault(ctx);
        }
        let over = self.is_over(verdict);
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
    fn is_over(&self, verdict: Verdict) -> Option<Option<ApiError>> {
        let (ctx, next) = (self.ctx, self.place.next_key());
        let since = now().mono_ms.saturating_sub(ctx.first_asked_ms.get());
        let sent = ctx.attempts.get() - ctx.stale.get();
        let keyless = matches!(verdict, Verdict::Revoked | Verdict::Exhausted);
        if sent >= next.tries() || since >= next.timeout_ms() {
            return Some(keyless.then_some(ApiError::NoHealthyKey));
        }
        let refusal = target::next(&self.request, ctx, self.main).err()?;
        // The only key's own word on when it returns is the best there is.
        let pool = self.main.pools.get(self.lease.pool);
        let only = pool.is_none_or(|pool| pool.keys.len() == 1);
        let own = keyless || (verdict == Verdict::Limited && !only);
        Some(own.then_some(refusal))
    }
}
