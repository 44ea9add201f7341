//! Handles the messages that a waiting request receives.

use std::rc::Rc;

use openai_core::lease::{Grant, LeaseHandle};

use super::{ask, outcome, refuse_lease};
use crate::config::{Pool, PoolKey};
use crate::gateway::refusal::UNAVAILABLE;
use crate::gateway::{Context, Exchange, LeaseStatus, Stage, Step};
use crate::pool::{self, Lease, Message, circuits};

/// Handles a message about a wait; `None` if the request does not wait for it any more.
pub fn receive(exchange: Exchange<'_>, message: Message) -> Option<Step> {
    let Exchange { ctx, main, .. } = exchange;
    let (at, pool) = ctx.pool(main)?;
    match message {
        Message::Served { grant, arrival } => Some(served(exchange, at, &grant, arrival)),
        Message::Locked {
            asked,
            grant,
            votes,
        } => {
            let (lease, key) = asked_for(ctx, at, asked, grant)?;
            let mut attempt = ctx.attempt.borrow_mut();
            attempt.wait.votes = Some(votes);
            let status = match attempt.wait.is_queued {
                true => LeaseStatus::Waited,
                false => LeaseStatus::Immediate,
            };
            attempt.leased(lease, key, status);
            Some(Step::Next(Stage::Leased))
        }
        Message::FallBack(grant) => fall_back(ctx, at, grant),
        Message::NextRound => {
            ctx.retries.borrow_mut().rounds += 1;
            Some(Step::Wait(Stage::Waiting, None))
        }
        Message::AskAgain => Some(ask_again(exchange, at, pool)),
        Message::Unavailable => {
            ctx.note_wait(|wait| wait.locking = None);
            Some(refuse_lease(ctx, LeaseStatus::Unavailable, UNAVAILABLE))
        }
        // Not messages about a wait.
        Message::Prolonged(_) | Message::Lost(_) => None,
    }
}

/// Handles the grant of a slot.
fn served(exchange: Exchange<'_>, at: usize, grant: &Grant, arrival: u64) -> Step {
    let Exchange { ctx, main, .. } = exchange;
    ctx.note_wait(|wait| wait.ticket = None);
    let avoid = {
        let mut retries = ctx.retries.borrow_mut();
        retries.arrival = Some(arrival);
        retries.avoid
    };
    let asked = pool::keep(main, at, grant, ctx.token, &avoid);
    outcome(exchange, asked, true, LeaseStatus::Waited)
}

/// Uses the lease without a lock, because too few nodes can vote.
fn fall_back(ctx: &Context, at: usize, grant: Grant) -> Option<Step> {
    if ctx.requested().is_some() {
        // A service lock must be exclusive across all machines.
        return None;
    }
    let (mut lease, key) = asked_for(ctx, at, grant.handle, grant)?;
    lease.renewal = pool::renew(&grant, ctx.token);
    let mut attempt = ctx.attempt.borrow_mut();
    attempt.leased(lease, key, LeaseStatus::Fallback);
    Some(Step::Next(Stage::Leased))
}

/// The lease for which a lock was requested; `None` if the request does not wait for it any
/// more. `asked` is the lease's handle at the time of the request, `grant` its current state.
fn asked_for(
    ctx: &Context,
    at: usize,
    asked: LeaseHandle,
    grant: Grant,
) -> Option<(Lease, Rc<PoolKey>)> {
    let key = pool::key(at, grant.key)?;
    let wait = &mut ctx.attempt.borrow_mut().wait;
    wait.locking.take_if(|locking| *locking == asked)?;
    let lease = Lease {
        grant,
        pool: at,
        renewal: None,
    };
    Some((lease, key))
}

/// Asks for another lease, because another machine holds the slot.
fn ask_again(exchange: Exchange<'_>, at: usize, pool: &Pool) -> Step {
    let ctx = exchange.ctx;
    ctx.note_wait(|wait| wait.locking = None);
    // The circuit may have opened meanwhile: ask it again with the next lease.
    let permit = ctx.attempt.borrow_mut().permit.take();
    if let Some(permit) = permit {
        circuits::unknown(permit);
    }
    ask(exchange, at, pool, exchange.wait_ms(pool))
}

/// Refuses a request whose wait has timed out.
pub fn timed_out(exchange: Exchange<'_>) -> Step {
    refuse_lease(exchange.ctx, LeaseStatus::Timeout, exchange.no_key(false))
}
