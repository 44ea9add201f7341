//! The lock service, in a location with `openai_api`.
//!
//! A request does all of its work in PRECONTENT, where it can read its body and wait
//! for a slot as any other; the content handler then sends what has come of it.

mod dispatch;
mod locks;
mod metrics;
mod reports;
mod status;
pub mod variables;

pub use dispatch::{Access, Precontent};
pub use locks::prolonged;

use std::cell::{Cell, RefCell};

use nginx_safe::{Answer, Content, Flow, Request};
use openai_core::admin::{self, Access as Who, Acquire, Extend, MAX_BODY, Problem, Release, Route};
use openai_core::clients::{Client, Role};
use openai_core::lease::LeaseHandle;
use openai_wire::ApiError;
use serde::Serialize;

use self::locks::Call;
use crate::config::{Answers, Location, Main};
use crate::gateway::access::client_of;
use crate::gateway::refusal::refuse;
use crate::gateway::{Context, Stage};

/// What the lock service keeps of a request.
#[derive(Default)]
pub struct Service {
    /// What the request asks for, while it waits for something.
    call: RefCell<Option<Call>>,
    /// The lock that it is about.
    lock: Cell<Option<LeaseHandle>>,
    /// What has come of it; the content handler sends it.
    answer: RefCell<Option<Answer>>,
}

impl Service {
    /// That of a request, if it is one of the lock service.
    pub fn of(ctx: &Context) -> Option<&Self> {
        ctx.service.get()?.downcast_ref()
    }
}

/// A request on its way through PRECONTENT.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    request: Request<'a>,
    ctx: &'a Context,
    service: &'a Service,
    main: &'a Main,
    location: &'a Location,
}

/// What has been decided, or that it takes longer.
type Decided = Result<Option<Answer>, Problem>;

/// Whether anybody may ask for this path, without a token.
pub fn is_public(request: &Request<'_>) -> bool {
    matches!(asked(request), Ok(route) if route.access() == Who::Public)
}

/// PRECONTENT of such a location.
pub fn run<'a>(
    request: Request<'a>,
    ctx: &'a Context,
    main: &'a Main,
    location: &'a Location,
) -> Flow {
    ctx.service.get_or_init(|| Box::new(Service::default()));
    let Some(service) = Service::of(ctx) else {
        return Flow::Answer(500);
    };
    let here = Here {
        request,
        ctx,
        service,
        main,
        location,
    };
    let decided = match ctx.stage.get() {
        Stage::Fresh => match here.begin() {
            Ok(Begun::Decided(answer)) => Ok(Some(answer)),
            Ok(Begun::Reads(flow)) => return flow,
            Err(problem) => Err(problem),
        },
        Stage::Body => here.body_read(),
        Stage::Leased => here.leased(),
        Stage::Refused(refusal) => Err(Problem::of(refusal)),
        Stage::Waiting | Stage::Prolonging => return Flow::Pause,
        // Those of requests that are sent.
        _ => return Flow::Decline,
    };
    let answer = match decided {
        Ok(Some(answer)) => answer,
        Ok(None) => return request.park(),
        Err(problem) => refusal(&problem),
    };
    ctx.stage.set(Stage::Done);
    *service.answer.borrow_mut() = Some(answer);
    Flow::Decline
}

/// Answers the requests of a location with `openai_api` or `openai_metrics`.
pub struct Handler;

impl Content for Handler {
    fn answer(request: Request<'_>) -> Answer {
        let location = request.location::<Location>();
        match location.and_then(|location| location.answers) {
            Some(Answers::Metrics) => metrics::answer(request),
            _ => answer(request),
        }
    }
}

/// What has come of a request in PRECONTENT.
fn answer(request: Request<'_>) -> Answer {
    let service = request.context::<Context>().and_then(Service::of);
    let answer = service.and_then(|service| service.answer.take());
    answer.unwrap_or_else(|| refusal(&Problem::of(ApiError::Internal)))
}

enum Begun {
    Decided(Answer),
    Reads(Flow),
}

impl<'a> Here<'a> {
    fn begin(self) -> Result<Begun, Problem> {
        // An internal redirect may have led here.
        self.service.call.take();
        self.service.answer.take();
        let route = asked(&self.request);
        let access = route.as_ref().map_or(Who::Client, Route::access);
        if access != Who::Public {
            // The access phase has not asked for a token if an address was enough.
            let client = self.client()?;
            if access == Who::Admin && client.role != Role::Admin {
                return Err(Problem::admin_only());
            }
        }
        let route = route?;
        if route.has_body() {
            if self.request.announced_length() > Some(MAX_BODY) {
                return Ok(Begun::Reads(refuse(self.ctx, ApiError::RequestTooLarge)));
            }
            *self.service.call.borrow_mut() = Some(Call::Body(route));
            self.ctx.stage.set(Stage::Body);
            return Ok(Begun::Reads(Flow::ReadBody));
        }
        let answer = match route {
            Route::Index => json(200, &admin::Index::new()),
            Route::Health => reports::health(self),
            Route::SystemInfo => reports::system_info(self),
            Route::Docs => Ok(page(admin::page())),
            Route::OpenApi => Ok(text(200, b"application/json", admin::document())),
            Route::Active => reports::active(self),
            Route::Stats => reports::stats(self),
            Route::ForceRelease(id) => locks::force_release(self, &id),
            Route::Cleanup => locks::clean_up(self),
            Route::StatusPage => Ok(status_page()),
            Route::Status => status::status(self),
            Route::Metrics => Ok(metrics::answer(self.request)),
            // They have bodies.
            Route::Acquire | Route::Release | Route::Extend => Err(Problem::no_such_path()),
        };
        answer.map(Begun::Decided)
    }

    fn body_read(self) -> Decided {
        let call = self.service.call.take();
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
            Some(Call::Body(Route::Acquire)) => self.acquire(Acquire::parse(&body)?),
            Some(Call::Body(Route::Extend)) => self.extend(&Extend::parse(&body)?),
            Some(Call::Body(Route::Release)) => self.release(&Release::parse(&body)?).map(Some),
            _ => Err(Problem::of(ApiError::Internal)),
        }
    }

    /// Who asks.
    fn client(self) -> Result<&'a Client, Problem> {
        let clients = self.main.clients.as_ref();
        let clients = clients.ok_or(Problem::of(ApiError::MissingToken))?;
        // Another module's check may have been enough for the access phase.
        let at = match self.ctx.client.get() {
            Some(at) => at,
            None => client_of(&self.request).map_err(Problem::of)?,
        };
        self.ctx.client.set(Some(at));
        let client = clients.as_slice().get(at);
        client.ok_or(Problem::of(ApiError::Internal))
    }
}

fn asked(request: &Request<'_>) -> Result<Route, Problem> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_| Problem::no_such_path());
    admin::route(text(request.method())?, text(request.path())?)
}

fn json(status: u16, body: &impl Serialize) -> Result<Answer, Problem> {
    let body = serde_json::to_vec(body).map_err(|_| Problem::of(ApiError::Internal))?;
    Ok(Answer {
        status,
        media_type: b"application/json",
        headers: vec![(b"Cache-Control", "no-store".into())],
        body: body.into(),
    })
}

fn text(status: u16, media_type: &'static [u8], body: &'static str) -> Answer {
    Answer {
        status,
        media_type,
        headers: vec![],
        body: body.as_bytes().into(),
    }
}

fn page(body: &'static str) -> Answer {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
    let mut page = text(200, b"text/html; charset=utf-8", body);
    page.headers
        .push((b"Content-Security-Policy", POLICY.into()));
    page
}

fn status_page() -> Answer {
    let mut page = text(200, b"text/html; charset=utf-8", admin::status_page());
    for (name, value) in [
        (&b"Content-Security-Policy"[..], admin::status_policy()),
        (b"Referrer-Policy", "no-referrer"),
        (b"X-Content-Type-Options", "nosniff"),
        // A newer module brings a newer page.
        (b"Cache-Control", "no-cache"),
    ] {
        page.headers.push((name, value.into()));
    }
    page
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
        status: problem.status,
        media_type: b"application/json",
        headers,
        body: problem.body().into(),
    }
}
