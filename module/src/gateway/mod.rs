//! The request path.
//!
//! One file per step: `access` (client), `head` (model and other fields), `admit` (quota;
//! later the circuit's permit), `route` (targets), `lease` (a key; may wait), `send`,
//! `judge` (keep the response or try again), `stream`, `release`, `log`. Steps do not call
//! each other. This file calls them from nginx's phases, filters and hooks, and on events.
//! Steps that decide what follows return a [`Step`], on which only [`Driver`] acts.

mod access;
mod admit;
mod context;
pub mod events;
mod exchange;
mod head;
mod judge;
mod lease;
mod log;
pub mod refusal;
mod release;
mod route;
mod send;
mod stream;
mod trace;
mod usage;
pub mod variables;

pub use access::check_token;
pub use context::{
    Acquiring, Context, Extending, LeaseState, LeaseStatus, Pending, Reply, Requested, Stage,
};
pub use exchange::Exchange;
pub use release::answer_complete;
pub use stream::broken::answer_broken;

use std::marker::PhantomData;

use nginx_safe::{
    AnswerHead, AttemptDecision, BodyPart, Chunk, Ending, Filter, Flow, LocationConf, PhaseHandler,
    Piece, Remainder, Request, Timer, Token,
};
use openai_core::attempts::AnswerState;
use openai_core::lease::LeaseHandle;
use openai_wire::ApiError;

use self::refusal::{UNAVAILABLE, refuse};
use crate::config::{Location, Main};
use crate::pool::Message;

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Continue with this stage.
    Next(Stage),
    /// Wait for an event, then continue with this stage. The wait is limited if a number of
    /// milliseconds is given.
    Wait(Stage, Option<u64>),
    /// Choose another target, because the circuit of the chosen one is open.
    OtherTarget,
    /// Make another attempt after this delay, because this one has failed.
    Retry { pause_ms: u64 },
    /// Refuse the request with this error.
    Refuse(ApiError),
}

/// Answers the requests of some locations instead of an upstream: the lock service. The
/// quota check and the lease are the same as for other requests; the service implements all
/// other stages.
pub trait Service: 'static {
    /// Whether the request needs no token.
    fn is_public(request: &Request<'_>) -> bool;
    /// Performs a stage.
    fn step(exchange: Exchange<'_>, stage: Stage) -> Step;
    /// Handles the nodes' answer to the extension of a lock. They keep it until `until_ms`;
    /// `None` if they do not, or have not answered in time.
    fn prolonged(exchange: Exchange<'_>, until_ms: Option<u64>) -> Step;
}

/// The driver: takes requests from step to step.
pub struct Driver<S>(PhantomData<S>);

impl<S: Service> Driver<S> {
    /// Runs the steps of a request until it must wait or is done.
    fn run(exchange: Exchange<'_>) -> Flow {
        let ctx = exchange.ctx;
        let is_service = exchange.location.api.is_served();
        let mut turned_away = 0;
        if ctx.stage() == Stage::Fresh {
            // With `satisfy any`, another check may have admitted a request without a token.
            ctx.refusal.error.set(None);
        }
        loop {
            let step = match ctx.stage() {
                Stage::Waiting | Stage::Pausing | Stage::Prolonging => return Flow::Pause,
                Stage::Done => {
                    if is_service {
                        // The lease of a lock has been entrusted. Any other is not needed any more.
                        ctx.release();
                    }
                    return match ctx.is_past_others.get() {
                        true => Flow::Pass,
                        false => Flow::Decline,
                    };
                }
                Stage::Admit => admit::quota(exchange),
                Stage::Lease => lease::take(exchange),
                stage if is_service => S::step(exchange, stage),
                Stage::Fresh => Step::Wait(Stage::Body, None),
                Stage::Body => head::read(exchange),
                Stage::Route => route::find(exchange),
                Stage::Again { pause_ms } => route::pause(pause_ms),
                Stage::Target => route::choose(exchange),
                Stage::Leased => admit::permit(exchange),
                Stage::Send => send::send(exchange),
                Stage::Refused(refusal) => return refuse(ctx, refusal),
            };
            // `OtherTarget` is the only step here that leads back. A target whose circuit is open is
            // not chosen again unless its circuit has changed meanwhile; the limit below
            // ends the loop even then.
            turned_away += usize::from(step == Step::OtherTarget);
            let targets = || ctx.targets().map_or(0, |targets| targets.len());
            let step = match turned_away > 0 && turned_away > targets() {
                true => Step::Refuse(ApiError::UpstreamsOpen { retry_after: 1 }),
                false => step,
            };
            Self::enter(ctx, step);
            match step {
                Step::Wait(Stage::Body, _) => return Flow::ReadBody,
                Step::Wait(..) => return Flow::Wait,
                _ => {}
            }
        }
    }

    /// Stores the next stage, and starts a timer if the wait for it is limited.
    fn enter(ctx: &Context, step: Step) {
        ctx.enter(match step {
            Step::Next(stage) | Step::Wait(stage, _) => stage,
            Step::Retry { pause_ms } => Stage::Again { pause_ms },
            Step::OtherTarget => {
                ctx.put_last();
                ctx.begin_attempt();
                Stage::Target
            }
            Step::Refuse(refusal) => Stage::Refused(refusal),
        });
        if let Step::Wait(_, Some(ms)) = step {
            let mut deadline = Timer::new(false, Self::timed_out, ctx.token.number());
            deadline.start(ms);
            ctx.attempt.borrow_mut().deadline = Some(deadline);
        }
    }

    /// Continues a waiting request after an event, unless it must wait longer.
    fn resume(exchange: Exchange<'_>, step: Step) {
        let Exchange { request, ctx, .. } = exchange;
        if matches!(step, Step::Refuse(_)) {
            ctx.release();
        }
        Self::enter(ctx, step);
        if !matches!(step, Step::Wait(..)) {
            ctx.attempt.borrow_mut().deadline = None;
            request.go_on();
        }
    }

    /// Handles the end of the time that a request may wait.
    fn timed_out(tag: u64) {
        Token::of(tag).with(|request| {
            let exchange = Exchange::of(request)?;
            let step = match exchange.ctx.stage() {
                Stage::Waiting => lease::timed_out(exchange),
                Stage::Pausing => Step::Next(Stage::Target),
                Stage::Prolonging => S::prolonged(exchange, None),
                _ => {
                    stream::timed_out(exchange.ctx.token);
                    return None;
                }
            };
            Self::resume(exchange, step);
            Some(())
        });
    }

    /// Handles a client that has left. Returns whether its response is read on.
    fn client_left(request: &Request<'_>) -> bool {
        let Some(ctx) = request.context::<Context>() else {
            return false;
        };
        let step = stream::client_left(request, ctx);
        step.inspect(|&step| Self::enter(ctx, step)).is_some()
    }

    /// Handles a message about a wait or a lease; `false` if the request is gone or does
    /// not wait for it.
    pub fn receive(token: Token, message: Message) -> bool {
        if let Message::Lost(handle) = message {
            let is_logged = events::lease_lost(token, handle);
            token.conclude(move |request| Self::lost(request, handle));
            return is_logged;
        }
        let receive = |request: Request<'_>| {
            let exchange = Exchange::of(request)?;
            let step = match (exchange.ctx.stage(), message) {
                (Stage::Waiting, message) => lease::receive(exchange, message)?,
                (Stage::Prolonging, Message::Prolonged(until_ms)) => {
                    S::prolonged(exchange, until_ms)
                }
                _ => return None,
            };
            Self::resume(exchange, step);
            Some(())
        };
        token.with(receive).flatten().is_some()
    }

    /// Decides how a request ends that has lost its lease.
    fn lost(request: Request<'_>, handle: LeaseHandle) -> Option<Ending> {
        let exchange = Exchange::of(request)?;
        let ctx = exchange.ctx;
        ctx.held().filter(|lease| lease.grant.handle == handle)?;
        if ctx.requested().is_none() {
            return Some(stream::lost::ending(&request, ctx));
        }
        // A request to the lock service has no response of an upstream.
        if ctx.stage() == Stage::Prolonging {
            Self::resume(exchange, Step::Refuse(UNAVAILABLE));
        }
        None
    }

    /// Judges the upstream's response when its header has arrived.
    pub fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> AttemptDecision {
        let kept = AnswerState::Received(head.status());
        Self::decide(request, kept, |exchange| judge::answer(exchange, head))
    }

    /// Judges an attempt without a response; `status` is what nginx would answer.
    pub fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> AttemptDecision {
        Self::decide(request, AnswerState::Awaited, |exchange| {
            judge::no_answer(exchange, status, reused)
        })
    }

    /// Judges an attempt, and decides what nginx does. `kept` is the state of the response if there
    /// is no other attempt.
    fn decide(
        request: Request<'_>,
        kept: AnswerState,
        judge: impl FnOnce(Exchange<'_>) -> Step,
    ) -> AttemptDecision {
        let Some(exchange) = Exchange::of(request) else {
            return AttemptDecision::Keep;
        };
        let step = judge(exchange);
        match step {
            Step::Next(Stage::Done) => {
                exchange.ctx.attempt.borrow_mut().answer.state = kept;
                return AttemptDecision::Keep;
            }
            Step::Wait(..) => return AttemptDecision::Undecided,
            Step::Refuse(refusal) => exchange.ctx.refusal.error.set(Some(refusal)),
            Step::Next(_) | Step::OtherTarget | Step::Retry { .. } => {}
        }
        Self::enter(exchange.ctx, step);
        AttemptDecision::Over
    }
}

/// Called before a request runs through PRECONTENT although the other handlers of that phase
/// have run: its attempt is over and the upstream connection closed, or it is a clone.
pub fn enters_precontent(request: Request<'_>) {
    if let Some(ctx) = Context::of(&request) {
        ctx.is_past_others.set(true);
        match ctx.stage() {
            Stage::Again { .. } => ctx.begin_attempt(),
            _ => ctx.release(),
        }
    }
}

/// Called when a request or subrequest has ended.
pub fn ended(request: Request<'_>) {
    release::ended(request);
    log::add(&request);
}

/// Handler of the ACCESS phase.
pub struct AccessPhase<S>(PhantomData<S>);

impl<S: Service> PhaseHandler for AccessPhase<S> {
    fn run(request: Request<'_>) -> Flow {
        let location = request.location::<Location>();
        let Some(location) = location.filter(|location| location.asks_token) else {
            return Flow::Decline;
        };
        if location.api.is_served() && S::is_public(&request) {
            return Flow::Decline;
        }
        let Some(ctx) = Context::of(&request) else {
            return Flow::Answer(500);
        };
        match check_token(&request, ctx) {
            Step::Refuse(refusal) => refuse(ctx, refusal),
            _ => Flow::Pass,
        }
    }
}

/// Handler of the PRECONTENT phase.
pub struct PrecontentPhase<S>(PhantomData<S>);

impl<S: Service> PhaseHandler for PrecontentPhase<S> {
    fn run(request: Request<'_>) -> Flow {
        let (Some(location), Some(main)) =
            (request.location::<Location>(), request.main_conf::<Main>())
        else {
            return Flow::Decline;
        };
        let gets_key = location.serves() && location.sends;
        if !gets_key && !location.api.is_served() {
            if request.is_internal() {
                release::lease(request);
            }
            // An `if` block without a handler may run the handler of another block, which
            // cannot be given a key.
            let stray = location.serves() && request.has_handler();
            return match stray {
                true => Flow::Answer(500),
                false => Flow::Decline,
            };
        }
        match Context::of(&request) {
            Some(ctx) => Driver::<S>::run(Exchange {
                request,
                ctx,
                location,
                main,
            }),
            None => Flow::Answer(500),
        }
    }
}

/// Filter of responses.
pub struct AnswerFilter<S>(PhantomData<S>);

impl<S: Service> Filter for AnswerFilter<S> {
    fn header(request: Request<'_>) -> bool {
        let location = request.location::<Location>();
        let Some(location) = location.filter(|location| location.is_gateway()) else {
            return true;
        };
        if request.is_from_cache() && !request.is_error_page() {
            stream::note_copy(&request);
            // A background refresh of the cache may need this slot.
            release::ended(request);
        }
        if request.is_error_page() {
            // The upstream request is over, but the client may stay connected.
            release::lease(request);
        }
        stream::header(&request, location);
        // A client that leaves later is noticed while the body is sent.
        !(location.drains()
            && request.is_upstream_answer()
            && request.client_is_gone()
            && Driver::<S>::client_left(&request))
    }

    fn body(request: Request<'_>, chunk: Chunk<'_>) -> Piece {
        let Some(ctx) = request.context::<Context>() else {
            return Piece::Keep;
        };
        match stream::body(request, ctx, chunk) {
            stream::Passing::Piece(piece) => piece,
            stream::Passing::Rest => {
                release::answer_complete(request);
                stream::rest(&request, ctx)
            }
        }
    }

    fn cut(request: Request<'_>, part: BodyPart<'_>) -> Remainder {
        match request.context::<Context>() {
            Some(ctx) => usage::strip(ctx, part),
            None => part.unchanged(),
        }
    }

    fn sent_last(request: Request<'_>) {
        stream::sent_last(request);
    }

    fn client_left(request: Request<'_>) -> bool {
        Driver::<S>::client_left(&request)
    }
}
