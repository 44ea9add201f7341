//! The path of a request: who asks, for which key, and when that ends.
//!
//! A file a step, in this order: `access` (the client), `head` (model and other fields),
//! `route` (the targets), `admit` (quota, and the permission of a circuit), `lease` (a key,
//! for which it may wait), `send`, `judge` (whether the answer is kept), `stream`,
//! `release`, `log`. Steps do not call each other: [`run`] acts on what they return.

pub mod access;
pub mod admit;
mod context;
pub mod events;
mod exchange;
mod head;
mod judge;
pub mod lease;
mod log;
mod pause;
pub mod refusal;
mod release;
mod route;
mod send;
pub mod stream;
pub mod trace;
mod waiting;

pub use context::{Context, LeaseStatus, Reply, Stage, Wishes};
pub use exchange::Exchange;
pub use judge::{answer_begun, attempt_failed, attempt_over};
pub use log::{CLIENT_LEFT, Log, add};
pub use release::{answer_complete, ended};
pub use stream::broken::answer_broken;
pub use stream::usage;
pub use waiting::hear;

use nginx_safe::{Flow, Request};
use openai_wire::ApiError;

use crate::config::{Location, Main};

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This stage.
    Next(Stage),
    /// The stage that is noted, once an event runs the request again.
    Wait,
    /// Another target: the circuit of the chosen one is open.
    Retry,
    /// An answer of the gateway's own.
    Refuse(ApiError),
}

/// Takes a request as far as it goes: PRECONTENT of a location that the lock service does
/// not answer.
pub fn run(request: Request<'_>, location: &Location, main: &Main) -> Flow {
    if !location.serves() || !location.sends() {
        release::leave_pool(&request);
        // In an `if` block without a handler there may be that of another block, which
        // cannot be given a key.
        let stray = location.serves() && request.has_handler();
        return if stray {
            Flow::Answer(500)
        } else {
            Flow::Decline
        };
    }
    let Some(ctx) = access::context_of(&request) else {
        return Flow::Answer(500);
    };
    let exchange = Exchange {
        request,
        ctx,
        location,
        main,
    };
    loop {
        let step = match ctx.stage.get() {
            Stage::Fresh => {
                ctx.stage.set(Stage::Body);
                return Flow::ReadBody;
            }
            Stage::Body => head::read(exchange),
            Stage::Admit => admit::quota(exchange),
            Stage::Route => route::find(exchange),
            Stage::Again => pause::before_attempt(exchange),
            Stage::Target => route::choose(exchange),
            Stage::Lease => lease::take(exchange),
            Stage::Leased => admit::permit(exchange),
            Stage::Send => send::send(exchange),
            Stage::Waiting | Stage::Pausing | Stage::Prolonging => return Flow::Pause,
            Stage::Refused(refusal) => Step::Refuse(refusal),
            Stage::Done => return Flow::Decline,
        };
        match step {
            Step::Next(stage) => ctx.stage.set(stage),
            Step::Wait => return request.park(),
            Step::Retry => ctx.stage.set(leave_target(ctx)),
            Step::Refuse(refusal) => {
                ctx.stage.set(Stage::Refused(refusal));
                return refusal::refuse(ctx, refusal);
            }
        }
    }
}

/// Gives up what the request has of its target, whose circuit is open. Others come before it
/// from now on.
fn leave_target(ctx: &Context) -> Stage {
    ctx.let_go();
    route::put_last(ctx);
    Stage::Target
}

/// A subrequest is done; it has no log phase of its own.
pub fn subrequest_done(request: Request<'_>) {
    ended(request);
    add(&request);
}
