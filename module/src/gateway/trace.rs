//! Ids of a request in logs, upstream requests and responses.

use std::cell::RefCell;

use nginx_safe::{HeaderName, Request, SentHeaders};
use openai_core::trace::{TraceParent, is_request_id, request_id};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::config::Location;
use crate::gateway::Context;

const TRACEPARENT: HeaderName = HeaderName::new(b"traceparent", b"traceparent");
const REQUEST_ID: HeaderName = HeaderName::new(b"X-Request-ID", b"x-request-id");
/// Header with the gateway's id, which does not conflict with an id of the upstream.
const GATEWAY_ID: HeaderName = HeaderName::new(b"X-Gateway-Request-ID", b"x-gateway-request-id");
const PROCESS_TIME: HeaderName = HeaderName::new(b"X-Process-Time", b"x-process-time");

thread_local! {
    /// Not the worker's generator, which exists only if there are pools.
    static RANDOM: RefCell<StdRng> = RefCell::new(StdRng::from_os_rng());
}

/// The ids of a request.
#[derive(Clone)]
pub struct Ids {
    pub parent: TraceParent,
    /// Whether the client began the trace, so that its `tracestate` is passed on.
    continued: bool,
    pub request_id: Box<[u8]>,
}

/// Ids of a request, created at first use; `None` where `openai_trace` is off and outside
/// the gateway's locations.
pub fn ids<'a>(request: &Request<'a>) -> Option<&'a Ids> {
    let location = request.location::<Location>()?;
    (location.trace.is_on() && location.is_gateway()).then(|| made(request))?
}

/// Ids of a request in any location, created at first use.
fn made<'a>(request: &Request<'a>) -> Option<&'a Ids> {
    let known = request.recalled::<Context>();
    let ctx = known.or_else(|| request.attach(Context::new))?;
    Some(ctx.log.trace.get_or_init(|| Box::new(make(request))))
}

/// Id of a request for an event or an error. The client receives the same id.
pub fn id<'a>(request: &Request<'a>) -> Option<&'a str> {
    str::from_utf8(&made(request)?.request_id).ok()
}

/// Id of a request for the access log. Where `openai_trace` is off, only requests with an
/// event or an error have one.
pub fn logged_id<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let ids = ids(request).or_else(|| Some(&**request.recalled::<Context>()?.log.trace.get()?))?;
    Some(&ids.request_id)
}

fn make(request: &Request<'_>) -> Ids {
    let main = request.main_request();
    if request.is_subrequest()
        && let Some(ids) = main
            .recalled::<Context>()
            .and_then(|ctx| ctx.log.trace.get())
    {
        return (**ids).clone();
    }
    let [span, wide, id] = RANDOM.with_borrow_mut(|random| [(); 3].map(|()| random_u128(random)));
    let span = span as u64;
    let continued = only(request.headers_named(b"traceparent"))
        .and_then(|header| TraceParent::continued(header, span));
    let theirs = only(request.headers_named(b"x-request-id")).filter(|id| is_request_id(id));
    Ids {
        parent: continued.unwrap_or_else(|| TraceParent::begun(wide, span)),
        continued: continued.is_some(),
        request_id: theirs.map_or_else(|| request_id(id).into(), Into::into),
    }
}

fn random_u128(random: &mut StdRng) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

/// The only value of a header; `None` if the header occurs several times.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    values.next().filter(|_| values.next().is_none())
}

/// Headers of the upstream request that replace those of the client.
pub fn sent(request: &Request<'_>) -> Option<SentHeaders> {
    let ids = ids(request)?;
    Some(SentHeaders {
        without: match ids.continued {
            true => &[b"traceparent", b"x-request-id"],
            false => &[b"traceparent", b"x-request-id", b"tracestate"],
        },
        with: vec![
            (TRACEPARENT, ids.parent.as_bytes().into()),
            (REQUEST_ID, ids.request_id.clone()),
        ],
    })
}

/// Adds the request's id and processing time to the response. An error of the gateway has
/// the id even where `openai_trace` is off.
///
/// OpenAI's clients read the provider's id from `X-Request-ID` and expect one value. The
/// gateway's id is sent in this header only if the response has none.
pub fn add_headers(request: &Request<'_>, location: &Location, is_own_error: bool) {
    if request.is_subrequest() {
        return;
    }
    if is_own_error
        && !location.trace.is_on()
        && let Some(ids) = made(request)
    {
        request.set_answer_header(REQUEST_ID, &ids.request_id);
    }
    if let Some(ids) = ids(request) {
        if !request.answers_with(REQUEST_ID) {
            request.set_answer_header(REQUEST_ID, &ids.request_id);
        }
        request.set_answer_header(GATEWAY_ID, &ids.request_id);
    }
    if location.trace.adds_time() {
        let ms = request.age_ms();
        let seconds = format!("{}.{:03}", ms / 1_000, ms % 1_000);
        request.set_answer_header(PROCESS_TIME, seconds.as_bytes());
    }
}
