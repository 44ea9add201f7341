//! What a request hears while it waits for a lease, or has one.

use std::rc::Rc;

use nginx_safe::{Request, Token};
use openai_core::lease::{Grant, LeaseHandle};

use super::lease::{UNAVAILABLE, ask, outcome};
use super::stream::lost;
use super::{Exchange, LeaseStatus, Stage, Step, events, leave_target, refusal};
use crate::config::{Pool, PoolKey};
use crate::pool::{self, Lease, News, circuits};

/// Tells a request of its wait or its lease; `false` when it has no use for that any more.
pub fn hear(token: Token, news: News) -> bool {
    if let News::Lost(handle) = news {
        let is_told = events::lease_lost(token, handle);
        lost::lost(token, handle);
        return is_told;
    }
    token.with(|request| take(request, news)) == Some(true)
}

fn take(request: Request<'_>, news: News) -> bool {
    let Some(waiter) = Waiter::of(request) else {
        return false;
    };
    match news {
        News::Served { grant, arrival } => waiter.served(&grant, arrival),
        News::Locked {
            asked,
            grant,
            votes,
        } => return waiter.locked(asked, grant, votes),
        News::FallBack(grant) => return waiter.fall_back(grant),
        News::NextRound => waiter.exchange.ctx.note_wait(|wait| wait.rounds += 1),
        News::AskAgain => waiter.ask_again(),
        News::Unavailable => waiter.unavailable(),
        // Not of a wait.
        News::Prolonged(_) | News::Lost(_) => return false,
    }
    true
}

/// A request that waits, and its pool.
#[derive(Clone, Copy)]
struct Waiter<'a> {
    exchange: Exchange<'a>,
    at: usize,
    pool: &'a Pool,
}

impl<'a> Waiter<'a> {
    fn of(request: Request<'a>) -> Option<Self> {
        let exchange = Exchange::of(request)?;
        let (at, pool) = exchange.ctx.pool(exchange.main)?;
        (exchange.ctx.stage.get() == Stage::Waiting).then_some(Self { exchange, at, pool })
    }

    /// The request is served with a slot.
    fn served(self, grant: &Grant, arrival: u64) {
        let Exchange { ctx, main, .. } = self.exchange;
        ctx.note_wait(|wait| {
            wait.ticket = None;
            wait.arrival = Some(arrival);
        });
        let avoid = ctx.retries.borrow().avoid;
        let asked = pool::keep(main, self.at, grant, ctx.token, &avoid);
        self.proceed(outcome(self.exchange, asked, true, LeaseStatus::Waited));
    }

    /// The slot is locked on other machines, too; `false` if the request has no use for it.
    fn locked(self, asked: LeaseHandle, grant: Grant, votes: u8) -> bool {
        let Some((lease, key)) = self.asked_for(asked, grant) else {
            return false;
        };
        let ctx = self.exchange.ctx;
        ctx.note_wait(|wait| wait.votes = Some(votes));
        let status = match ctx.wait.get().is_queued {
            true => LeaseStatus::Waited,
            false => LeaseStatus::Immediate,
        };
        ctx.begin_attempt(lease, key, status);
        self.proceed(Step::Next(Stage::Leased));
        true
    }

    /// No quorum can be had: the slot is leased on this machine only.
    fn fall_back(self, grant: Grant) -> bool {
        let ctx = self.exchange.ctx;
        if ctx.wishes.get().is_some() {
            // A lock that another machine may have as well is none.
            return false;
        }
        let Some((lease, key)) = self.asked_for(grant.handle, grant) else {
            return false;
        };
        let renewal = pool::renew(&grant, ctx.token);
        ctx.begin_attempt(Lease { renewal, ..lease }, key, LeaseStatus::Fallback);
        self.proceed(Step::Next(Stage::Leased));
        true
    }

    /// The lease that a lock was asked for, under its name at that time, as it is now.
    fn asked_for(self, asked: LeaseHandle, grant: Grant) -> Option<(Lease, Rc<PoolKey>)> {
        let ctx = self.exchange.ctx;
        let key = self.pool.keys.get(grant.key)?;
        if ctx.wait.get().locking != Some(asked) {
            return None;
        }
        ctx.note_wait(|wait| wait.locking = None);
        let lease = Lease {
            grant,
            pool: self.at,
            renewal: None,
        };
        Some((lease, key))
    }

    /// The slot turned out to be held elsewhere.
    fn ask_again(self) {
        let ctx = self.exchange.ctx;
        ctx.note_wait(|wait| wait.locking = None);
        // The circuit may have opened since: it is asked again.
        if let Some(permit) = ctx.permit.take() {
            circuits::unknown(permit);
        }
        self.proceed(ask(self.exchange, self.at, self.pool));
    }

    /// Too few nodes can be asked.
    fn unavailable(self) {
        self.exchange.ctx.note_wait(|wait| {
            wait.locking = None;
            wait.status = LeaseStatus::Unavailable;
        });
        self.proceed(UNAVAILABLE);
    }

    /// Has the request go on, unless it waits still.
    fn proceed(self, step: Step) {
        let Exchange { request, ctx, .. } = self.exchange;
        let stage = match step {
            Step::Wait => return,
            Step::Next(stage) => stage,
            Step::Retry => leave_target(ctx),
            Step::Refuse(refusal) => Stage::Refused(refusal),
        };
        ctx.stage.set(stage);
        ctx.deadline.take();
        request.go_on();
    }
}

/// A waiter's time is up.
pub(super) fn waited_out(token: Token) {
    token.with(|request| {
        let Some(exchange) = Exchange::of(request) else {
            return;
        };
        let ctx = exchange.ctx;
        if ctx.stage.get() == Stage::Waiting {
            ctx.let_go();
            ctx.note_wait(|wait| wait.status = LeaseStatus::Timeout);
            ctx.stage.set(Stage::Refused(refusal::in_vain(exchange)));
            request.go_on();
        }
    });
}
