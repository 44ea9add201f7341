//! The lock service, in a location with `openai_api`.
//!
//! A request is processed in PRECONTENT, where it can read its body and wait for a slot
//! like any other request. The content handler then sends the response.

mod locks;
mod metrics;
mod reports;
mod status;

use std::borrow::Cow;

use nginx_safe::{Answer, Content, Request};
use openai_core::admin::{
    self, Access, Acquire, ApiRoute, Extend, MAX_BODY, Page, Problem, Release,
};
use openai_core::clients::{Client, Role};
use openai_wire::ApiError;
use serde::Serialize;

use crate::config::{Answers, Location};
use crate::gateway::refusal::UNAVAILABLE;
use crate::gateway::{Context, Exchange, Pending, Service, Stage, Step, check_token};

/// The lock service.
pub struct LockService;

impl Service for LockService {
    fn is_public(request: &Request<'_>) -> bool {
        matches!(asked(request), Ok(route) if route.access() == Access::Public)
    }

    fn step(exchange: Exchange<'_>, stage: Stage) -> Step {
        let decided = match stage {
            Stage::Fresh => exchange.begin(),
            Stage::Body => exchange.body_read(),
            // The pool has been chosen.
            Stage::Route => Ok(Step::Next(Stage::Lease)),
            Stage::Leased => exchange.leased(),
            Stage::Refused(refusal) => Err(exchange.refused(refusal)),
            // Stages of requests that are sent upstream.
            _ => Err(unavailable()),
        };
        decided.unwrap_or_else(|problem| exchange.answer(refusal(&problem)))
    }

    fn prolonged(exchange: Exchange<'_>, until_ms: Option<u64>) -> Step {
        exchange.prolonged(until_ms)
    }
}

fn unavailable() -> Problem {
    Problem::of(UNAVAILABLE)
}

/// Answers the requests of a location with `openai_api` or `openai_metrics`.
pub struct Handler;

impl Content for Handler {
    fn answer(request: Request<'_>) -> Answer {
        let location = request.location::<Location>();
        match location.and_then(|location| location.answers) {
            Some(Answers::Metrics) => metrics::answer(request),
            _ => {
                // PRECONTENT has made the response.
                let call = request.context::<Context>().and_then(Context::lock_call);
                let answer = call.and_then(|call| call.answer.take());
                answer.unwrap_or_else(|| refusal(&Problem::of(ApiError::Internal)))
            }
        }
    }
}

impl<'a> Exchange<'a> {
    /// The response to a request that got no lock, which the metrics count by this error.
    fn refused(self, refusal: ApiError) -> Problem {
        self.ctx.refusal.error.set(Some(refusal));
        Problem::of(refusal)
    }

    /// Stores the response that the content handler sends.
    fn answer(self, answer: Answer) -> Step {
        *self.ctx.as_lock_call().answer.borrow_mut() = Some(answer);
        Step::Next(Stage::Done)
    }

    fn begin(self) -> Result<Step, Problem> {
        let route = asked(&self.request);
        let access = route.as_ref().map_or(Access::Client, ApiRoute::access);
        if access != Access::Public {
            // Under `satisfy any` the client's address may have been enough, so that no
            // token was checked.
            let client = self.caller()?;
            if access == Access::Admin && client.role != Role::Admin {
                return Err(Problem::admin_only());
            }
        }
        let route = route?;
        if route.has_body() {
            if self.request.announced_length() > Some(MAX_BODY) {
                return Err(Problem::of(ApiError::RequestTooLarge));
            }
            self.await_call(Pending::Body(route));
            return Ok(Step::Wait(Stage::Body, None));
        }
        let answer = match route {
            ApiRoute::Index => json(200, &admin::Index::default()),
            ApiRoute::Health => reports::health(self),
            ApiRoute::SystemInfo => reports::system_info(self),
            ApiRoute::Docs => Ok(self.docs()),
            ApiRoute::OpenApi => Ok(plain(
                200,
                b"application/json",
                admin::document().as_bytes(),
            )),
            ApiRoute::Active => reports::active(self),
            ApiRoute::Stats => reports::stats(self),
            ApiRoute::ForceRelease(id) => locks::force_release(self, &id),
            ApiRoute::Cleanup => locks::clean_up(self),
            ApiRoute::StatusPage => Ok(page(&admin::STATUS_PAGE)),
            ApiRoute::Status => status::status(self),
            ApiRoute::Metrics => Ok(metrics::answer(self.request)),
            // These have bodies.
            ApiRoute::Acquire | ApiRoute::Release | ApiRoute::Extend => {
                Err(Problem::no_such_path())
            }
        };
        Ok(self.answer(answer?))
    }

    fn body_read(self) -> Result<Step, Problem> {
        let call = self.ctx.as_lock_call().call.take();
        if self.request.body_length() > MAX_BODY {
            return Err(Problem::of(ApiError::RequestTooLarge));
        }
        let mut body = vec![];
        if !self
            .request
            .body_pieces(|piece| body.extend_from_slice(piece))
        {
            return Err(Problem::of(ApiError::Internal));
        }
        match call {
            Some(Pending::Body(ApiRoute::Acquire)) => self.acquire(Acquire::parse(&body)?),
            Some(Pending::Body(ApiRoute::Extend)) => self.extend(&Extend::parse(&body)?),
            Some(Pending::Body(ApiRoute::Release)) => {
                let answer = self.release(&Release::parse(&body)?)?;
                Ok(self.answer(answer))
            }
            _ => Err(Problem::of(ApiError::Internal)),
        }
    }

    /// The documentation page, or a file of it.
    fn docs(self) -> Answer {
        match admin::docs_file(self.request.query()) {
            None => page(&admin::DOCS_PAGE),
            Some((media_type, body)) => Answer {
                headers: vec![
                    (b"Content-Encoding", "gzip".into()),
                    (b"Cache-Control", "max-age=3600".into()),
                    (b"X-Content-Type-Options", "nosniff".into()),
                ],
                ..plain(200, media_type, body)
            },
        }
    }

    /// The client that sent the request.
    fn caller(self) -> Result<&'a Client, Problem> {
        // Under `satisfy any` another module's check may have been enough.
        if self.ctx.access.client.get().is_none()
            && let Step::Refuse(refusal) = check_token(&self.request, self.ctx)
        {
            return Err(Problem::of(refusal));
        }
        let client = self.ctx.client(self.main);
        client.ok_or(Problem::of(ApiError::Internal))
    }
}

fn asked(request: &Request<'_>) -> Result<ApiRoute, Problem> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_| Problem::no_such_path());
    admin::route(text(request.method())?, text(request.path())?)
}

fn json(status: u16, body: &impl Serialize) -> Result<Answer, Problem> {
    let body = serde_json::to_vec(body).map_err(|_| Problem::of(ApiError::Internal))?;
    Ok(Answer {
        headers: vec![(b"Cache-Control", "no-store".into())],
        ..plain(status, b"application/json", body)
    })
}

/// An answer without additional headers.
fn plain(status: u16, media_type: &'static [u8], body: impl Into<Cow<'static, [u8]>>) -> Answer {
    Answer {
        status,
        media_type,
        headers: vec![],
        body: body.into(),
    }
}

fn page(page: &'static Page) -> Answer {
    let mut answer = plain(200, b"text/html; charset=utf-8", page.html.as_bytes());
    for (name, value) in [
        (&b"Content-Security-Policy"[..], &page.policy[..]),
        (b"Referrer-Policy", "no-referrer"),
        (b"X-Content-Type-Options", "nosniff"),
        // A newer module may have a newer page.
        (b"Cache-Control", "no-cache"),
    ] {
        answer.headers.push((name, value.into()));
    }
    answer
}

fn refusal(problem: &Problem) -> Answer {
    let mut headers = vec![];
    if let Some(seconds) = problem.retry_after {
        headers.push((&b"Retry-After"[..], seconds.to_string().into()));
    }
    if problem.is_final {
        headers.push((&b"X-Should-Retry"[..], "false".into()));
    }
    if let Some(methods) = problem.allow {
        headers.push((&b"Allow"[..], methods.into()));
    }
    Answer {
        headers,
        ..plain(problem.status, b"application/json", problem.body())
    }
}
