//! Handles the messages that a waiting request receives.

use std::rc::Rc;

use openai_core::lease::{Grant, LeaseHandle};

use super::{ask, outcome, unavailable, waited_in_vain};
use crate::config::{Pool, PoolKey};
use crate::gateway::{Exchange, LeaseStatus, Stage, Step};
use crate::pool::{self, Lease, News, circuits};

/// Handles a message about a wait; `None` if the request does not wait for it any more.
pub fn hear(exchange: Exchange<'_>, news: News) -> Option<Step> {
    let (at, pool) = exchange.ctx.pool(exchange.main)?;
    let waiter = Waiter { exchange, at, pool };
    match news {
        News::Served { grant, arrival } => Some(waiter.served(&grant, arrival)),
        News::Locked {
            asked,
            grant,
            votes,
        } => waiter.locked(asked, grant, votes),
        News::FallBack(grant) => waiter.fall_back(grant),
        News::NextRound => {
            exchange.ctx.retries.borrow_mut().rounds += 1;
            Some(Step::Wait(Stage::Waiting, None))
        }
        News::AskAgain => Some(waiter.ask_again()),
        News::Unavailable => {
            exchange.ctx.note_wait(|wait| wait.locking = None);
            Some(unavailable(exchange.ctx))
        }
        // Not messages about a wait.
        News::Prolonged(_) | News::Lost(_) => None,
    }
}

/// A waiting request and its pool.
#[derive(Clone, Copy)]
struct Waiter<'a> {
    exchange: Exchange<'a>,
    at: usize,
    pool: &'a Pool,
}

impl Waiter<'_> {
    /// Handles the grant of a slot.
    fn served(self, grant: &Grant, arrival: u64) -> Step {
        let Exchange { ctx, main, .. } = self.exchange;
        ctx.note_wait(|wait| wait.ticket = None);
        let avoid = {
            let mut retries = ctx.retries.borrow_mut();
            retries.arrival = Some(arrival);
            retries.avoid
        };
        let asked = pool::keep(main, self.at, grant, ctx.token, &avoid);
        outcome(self.exchange, asked, true, LeaseStatus::Waited)
    }

    /// Handles the lock of a slot on the nodes.
    fn locked(self, asked: LeaseHandle, grant: Grant, votes: u8) -> Option<Step> {
        let (lease, key) = self.asked_for(asked, grant)?;
        let mut attempt = self.exchange.ctx.attempt.borrow_mut();
        attempt.wait.votes = Some(votes);
        let status = match attempt.wait.is_queued {
            true => LeaseStatus::Waited,
            false => LeaseStatus::Immediate,
        };
        attempt.leased(lease, key, status);
        Some(Step::Next(Stage::Leased))
    }

    /// Uses the lease without a lock, because too few nodes can vote.
    fn fall_back(self, grant: Grant) -> Option<Step> {
        let ctx = self.exchange.ctx;
        if ctx.wishes().is_some() {
            // A service lock must be exclusive across all machines.
            return None;
        }
        let (lease, key) = self.asked_for(grant.handle, grant)?;
        let renewal = pool::renew(&grant, ctx.token);
        let lease = Lease { renewal, ..lease };
        let mut attempt = ctx.attempt.borrow_mut();
        attempt.leased(lease, key, LeaseStatus::Fallback);
        Some(Step::Next(Stage::Leased))
    }

    /// The lease for which a lock was requested; `None` if the request does not wait for it
    /// any more. `asked` is the lease's handle at the time of the request, `grant` its
    /// current state.
    fn asked_for(self, asked: LeaseHandle, grant: Grant) -> Option<(Lease, Rc<PoolKey>)> {
        let key = pool::key(self.at, grant.key)?;
        let wait = &mut self.exchange.ctx.attempt.borrow_mut().wait;
        wait.locking.take_if(|locking| *locking == asked)?;
        let lease = Lease {
            grant,
            pool: self.at,
            renewal: None,
        };
        Some((lease, key))
    }

    /// Asks for another lease, because another machine holds the slot.
    fn ask_again(self) -> Step {
        let ctx = self.exchange.ctx;
        ctx.note_wait(|wait| wait.locking = None);
        // The circuit may have opened meanwhile: ask it again with the next lease.
        let permit = ctx.attempt.borrow_mut().permit.take();
        if let Some(permit) = permit {
            circuits::unknown(permit);
        }
        let wait_ms = self.exchange.wait_ms(self.pool);
        ask(self.exchange, self.at, self.pool, wait_ms)
    }
}

/// Refuses a request whose wait has timed out.
pub fn timed_out(exchange: Exchange<'_>) -> Step {
    exchange.ctx.let_go();
    waited_in_vain(exchange, LeaseStatus::Timeout)
}
