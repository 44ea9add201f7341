//! Releases the lease when the upstream's response is complete, in the LOG phase at the latest.

use nginx_safe::Request;
use openai_core::attempts::AnswerState;

use super::{Context, usage};
use crate::pool::{self, circuits, locks};

impl Context {
    /// Leaves the queue and releases the lease and the permit, as far as the request has them.
    pub(super) fn release(&self) {
        let (permit, ticket, locking, lease, state) = {
            let mut attempt = self.attempt.borrow_mut();
            attempt.deadline = None;
            let wait = &mut attempt.wait;
            let (ticket, locking) = (wait.ticket.take(), wait.locking.take());
            if ticket.is_some() || locking.is_some() {
                wait.is_over();
            }
            let state = attempt.answer.state;
            let permit = attempt.permit.take();
            (permit, ticket, locking, attempt.end(), state)
        };
        if let Some(permit) = permit {
            circuits::unknown(permit);
        }
        if let Some(ticket) = ticket {
            pool::leave(ticket);
        }
        if let Some(handle) = locking {
            locks::end(handle);
        }
        if let Some(lease) = lease {
            if state == AnswerState::Unsent {
                pool::unused(lease.grant.handle);
            }
            pool::release(&lease);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.release();
    }
}

/// Called when the upstream has sent its whole response; the client may not have it yet.
pub fn answer_complete(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        {
            let answer = &mut ctx.attempt.borrow_mut().answer;
            answer.state = answer.state.completed(answer.draining.is_some());
        }
        end(&request, ctx);
    }
}

/// Called when nothing more is expected from the upstream.
pub(super) fn ended(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        end(&request, ctx);
    }
}

/// Settles the usage and releases the lease.
fn end(request: &Request<'_>, ctx: &Context) {
    usage::settle(request, ctx);
    ctx.release();
}

/// Releases the lease of a request that uses it no more; its usage is unknown.
pub(super) fn lease(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        ctx.release();
    }
}
