//! A lease of a key of the chosen target's pool, or a place in its queue.

use nginx_safe::{Request, Timer, Token};
use openai_core::clients::Client;
use openai_core::lease::holder_of;
use openai_wire::ApiError;

use super::{Context, Exchange, LeaseStatus, Stage, Step, refusal, waiting};
use crate::config::Pool;
use crate::pool::{self, Ask, Asked};

/// The most tokens that a prompt is taken for: images are long in JSON, not in tokens.
const MOST_OF_PROMPT: u64 = 32_768;
const BYTES_A_TOKEN: u64 = 4;

/// Asks for a lease for a request that is to be sent.
pub(super) fn take(exchange: Exchange<'_>) -> Step {
    let Some((at, pool)) = exchange.ctx.pool(exchange.main) else {
        return Step::Refuse(ApiError::Internal);
    };
    if exchange.request.is_subrequest() {
        exchange.request.tell_end();
    }
    seek(exchange, at, pool)
}

/// Asks for a lease of a pool, and waits as long as the request may.
pub fn seek(exchange: Exchange<'_>, at: usize, pool: &Pool) -> Step {
    let ctx = exchange.ctx;
    let step = ask(exchange, at, pool);
    let wait_ms = exchange.wait_ms(pool);
    if step == Step::Wait && wait_ms > 0 {
        let end = |tag| waiting::waited_out(Token::of(tag));
        let mut deadline = Timer::new(false, end, ctx.token.number());
        deadline.start(wait_ms);
        *ctx.deadline.borrow_mut() = Some(deadline);
    }
    step
}

/// Asks for a lease of a pool, once.
pub(super) fn ask(exchange: Exchange<'_>, at: usize, pool: &Pool) -> Step {
    let Exchange {
        request, ctx, main, ..
    } = exchange;
    let wait_ms = exchange.wait_ms(pool);
    let client = ctx.client(main);
    let ask = Ask {
        pool: at,
        ttl_ms: pool.ttl_ms,
        priority: priority(ctx, client),
        wait_ms,
        arrival: ctx.wait.get().arrival,
        tokens: estimate(&request, ctx),
        avoid: ctx.retries.borrow().avoid,
        holder: client.map_or(0, |client| holder_of(&client.name)),
        circuit: exchange.circuit(),
        permit: &ctx.permit,
    };
    let Some(known) = main.taken_over() else {
        return UNAVAILABLE;
    };
    let asked = pool::ask(main, known, &ask, ctx.token);
    outcome(exchange, asked, wait_ms > 0, LeaseStatus::Immediate)
}

/// What the lock service says when it cannot decide.
pub(super) const UNAVAILABLE: Step = Step::Refuse(ApiError::LockUnavailable { retry_after: 1 });

/// Notes what has come of asking.
pub(super) fn outcome(
    exchange: Exchange<'_>,
    asked: Asked,
    may_wait: bool,
    status: LeaseStatus,
) -> Step {
    let ctx = exchange.ctx;
    match asked {
        Asked::Leased(lease, key) => {
            ctx.begin_attempt(lease, key, status);
            Step::Next(Stage::Leased)
        }
        Asked::Locks(handle) => {
            ctx.note_wait(|wait| {
                wait.locking = Some(handle);
                wait.rounds += 1;
                wait.status = LeaseStatus::Waiting;
            });
            ctx.stage.set(Stage::Waiting);
            Step::Wait
        }
        Asked::Waits(ticket) => {
            ctx.note_wait(|wait| {
                wait.ticket = Some(ticket);
                wait.is_queued = true;
                wait.status = LeaseStatus::Waiting;
            });
            ctx.stage.set(Stage::Waiting);
            Step::Wait
        }
        Asked::QueueFull => {
            let status = match may_wait {
                true => LeaseStatus::QueueFull,
                false => LeaseStatus::Timeout,
            };
            ctx.note_wait(|wait| wait.status = status);
            Step::Refuse(refusal::in_vain(exchange))
        }
        Asked::Open => Step::Retry,
        Asked::CoolingDown(soonest_ms) => {
            let retry_after = refusal::seconds(soonest_ms);
            none_for_now(
                ctx,
                LeaseStatus::CoolingDown,
                ApiError::KeysRateLimited { retry_after },
            )
        }
        Asked::Unhealthy(soonest_ms) => {
            let retry_after = refusal::seconds(soonest_ms);
            none_for_now(
                ctx,
                LeaseStatus::Unhealthy,
                ApiError::NoHealthyKey { retry_after },
            )
        }
        Asked::Unavailable => {
            ctx.note_wait(|wait| wait.status = LeaseStatus::Unavailable);
            UNAVAILABLE
        }
    }
}

fn none_for_now(ctx: &Context, status: LeaseStatus, refusal: ApiError) -> Step {
    ctx.note_wait(|wait| wait.status = status);
    ctx.refusal.set(Some(refusal));
    Step::Refuse(refusal)
}

/// How urgent the request is.
fn priority(ctx: &Context, client: Option<&Client>) -> i32 {
    let wish = ctx.wishes.get().and_then(|wishes| wishes.priority);
    wish.or_else(|| Some(client?.priority)).unwrap_or(0)
}

/// How many tokens the request may take, by the length of its body and by what it
/// allows for the answer; 0 if nothing is known.
fn estimate(request: &Request<'_>, ctx: &Context) -> u32 {
    let Some(head) = ctx.head.get() else {
        return 0;
    };
    let prompt = (request.body_length() / BYTES_A_TOKEN).min(MOST_OF_PROMPT);
    let each = u64::from(head.max_tokens.unwrap_or_default());
    let answers = each * u64::from(head.choices.unwrap_or(1));
    u32::try_from(prompt + answers).unwrap_or(u32::MAX)
}
