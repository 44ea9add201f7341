//! Response headers of the real API.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;

use crate::ident::RequestId;
use crate::keys::{ORGANIZATION, Rates};
use crate::limits::go_duration;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const EVENT_STREAM: HeaderValue =
    HeaderValue::from_static("text/event-stream; charset=utf-8");
pub(crate) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
pub(crate) const GZIP: HeaderValue = HeaderValue::from_static("gzip");
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");
const ZERO: HeaderValue = HeaderValue::from_static("0");
const API_VERSION: HeaderValue = HeaderValue::from_static("2020-10-01");
const ORGANIZATION_VALUE: HeaderValue = HeaderValue::from_static(ORGANIZATION);
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OPENAI_PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const OPENAI_VERSION: HeaderName = HeaderName::from_static("openai-version");
const OPENAI_ORGANIZATION: HeaderName = HeaderName::from_static("openai-organization");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RATES: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

/// What every answer has; to copy it costs less than to put it together.
static JSON_ANSWER: LazyLock<HeaderMap> = LazyLock::new(|| of_api(&[JSON]));
static STREAMED_ANSWER: LazyLock<HeaderMap> = LazyLock::new(|| of_api(&[EVENT_STREAM, NO_CACHE]));

fn of_api(values: &[HeaderValue]) -> HeaderMap {
    // Room for all that an answer may have.
    let mut headers = HeaderMap::with_capacity(16);
    let names = [header::CONTENT_TYPE, header::CACHE_CONTROL];
    headers.extend(names.into_iter().zip(values.iter().cloned()));
    headers.insert(X_REQUEST_ID, ZERO);
    headers.insert(OPENAI_PROCESSING_MS, ZERO);
    headers.insert(OPENAI_VERSION, API_VERSION);
    headers.insert(OPENAI_ORGANIZATION, ORGANIZATION_VALUE);
    headers
}

/// The headers of an answer in JSON.
pub(crate) fn json() -> HeaderMap {
    JSON_ANSWER.clone()
}

/// The headers of an event stream.
pub(crate) fn event_stream() -> HeaderMap {
    STREAMED_ANSWER.clone()
}

/// Adds the id of the answer, and how long it took.
pub(crate) fn add(headers: &mut HeaderMap, id: RequestId, elapsed: Duration) {
    if let Ok(id) = HeaderValue::from_bytes(&id.digits()) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Ok(millis @ 1..) = u64::try_from(elapsed.as_millis()) {
        headers.insert(OPENAI_PROCESSING_MS, millis.into());
    }
}

/// How much of the limits is left.
pub(crate) fn rates(headers: &mut HeaderMap, rates: Rates) {
    if rates == Rates::default() {
        return;
    }
    for ([limit, remaining, reset], level) in RATES.into_iter().zip([rates.requests, rates.tokens])
    {
        if let Some(level) = level {
            headers.insert(limit, level.limit.into());
            headers.insert(remaining, level.remaining.into());
            insert(headers, reset, go_duration(level.reset));
        }
    }
}

/// When to come back.
pub(crate) fn retry(headers: &mut HeaderMap, after: Option<Duration>, should: Option<bool>) {
    if let Some(after) = after {
        let millis = after.as_nanos().div_ceil(1_000_000);
        insert(headers, RETRY_AFTER_MS, millis.to_string());
        insert(
            headers,
            header::RETRY_AFTER,
            millis.div_ceil(1000).to_string(),
        );
    }
    if let Some(should) = should {
        insert(headers, X_SHOULD_RETRY, should.to_string());
    }
}

/// Headers of an answer that was recorded.
pub(crate) fn recorded(headers: &mut HeaderMap, recorded: &[(String, String)]) {
    for (name, value) in recorded {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.insert(name, value);
    }
}
