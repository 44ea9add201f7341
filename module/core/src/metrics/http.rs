//! HTTP requests by method, endpoint and status, each from a fixed list.

use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::named_counts;

pub(super) const METHODS: [&str; 8] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "other",
];

/// Paths, and whether paths below count as the same; the last one is for all others.
pub(super) const ENDPOINTS: [(&str, bool); 35] = [
    ("/v1/chat/completions", false),
    ("/v1/completions", false),
    ("/v1/responses", true),
    ("/v1/embeddings", false),
    ("/v1/models", true),
    ("/v1/moderations", false),
    ("/v1/audio/transcriptions", false),
    ("/v1/audio/translations", false),
    ("/v1/audio/speech", false),
    ("/v1/images", true),
    ("/v1/files", true),
    ("/v1/uploads", true),
    ("/v1/batches", true),
    ("/v1/fine_tuning", true),
    ("/v1/vector_stores", true),
    ("/v1/conversations", true),
    ("/v1/assistants", true),
    ("/v1/threads", true),
    ("/v1/lock/acquire", false),
    ("/v1/lock/extend", false),
    ("/v1/lock/release", false),
    ("/v1/locks/active", false),
    ("/v1/locks", true),
    ("/v1/maintenance/cleanup-expired", false),
    ("/v1/stats", false),
    ("/health", false),
    ("/metrics", false),
    ("/system/info", false),
    ("/docs", false),
    ("/redoc", false),
    ("/openapi.json", false),
    ("/status", false),
    ("/v1/status", false),
    ("/", false),
    ("other", false),
];

pub(super) const STATUSES: [u16; 27] = [
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429,
    494, 499, 500, 501, 502, 503, 504, 0,
];

/// An endpoint of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint(usize);

impl Endpoint {
    /// The endpoint of a path without arguments. A prefix before `/v1/` is ignored: a gateway may
    /// be at any path of its host.
    #[must_use]
    pub fn of(path: &[u8]) -> Self {
        let at = path.windows(4).position(|bytes| bytes == b"/v1/");
        let path = &path[at.unwrap_or(0)..];
        let found = ENDPOINTS.iter().position(|&(known, below)| {
            let rest = path.strip_prefix(known.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || (below && rest.starts_with(b"/")))
        });
        Self(found.unwrap_or(ENDPOINTS.len() - 1))
    }

    /// The endpoint with this name; `other` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let found = ENDPOINTS.iter().position(|(known, _)| *known == name);
        Self(found.unwrap_or(ENDPOINTS.len() - 1))
    }

    /// The path.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        ENDPOINTS[self.0].0
    }

    /// Whether its requests are billed by tokens.
    #[must_use]
    pub fn has_tokens(self) -> bool {
        matches!(
            self.as_str(),
            "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/embeddings"
        )
    }
}

/// Method, endpoint and status of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    method: usize,
    endpoint: Endpoint,
    status: usize,
}

impl Http {
    /// Classifies an answered request.
    #[must_use]
    pub fn new(method: &[u8], endpoint: Endpoint, status: u16) -> Self {
        let method = METHODS.iter().position(|known| known.as_bytes() == method);
        Self {
            method: method.unwrap_or(METHODS.len() - 1),
            endpoint,
            status: STATUSES
                .iter()
                .position(|&known| known == status)
                .unwrap_or(STATUSES.len() - 1),
        }
    }

    pub(super) const fn cell(self) -> usize {
        self.endpoint.0 * METHODS.len() + self.method
    }
}

/// The requests of a method and an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Serialize, Deserialize)]
#[repr(C)]
pub(super) struct Cell {
    #[serde(with = "named_counts")]
    pub(super) statuses: [u64; STATUSES.len()],
    #[serde(with = "named_counts")]
    pub(super) duration: Histogram,
}

impl Cell {
    /// Counts a request of this method and endpoint.
    pub(super) fn note(&mut self, http: Http, duration_ms: u64) {
        let count = &mut self.statuses[http.status];
        *count = count.saturating_add(1);
        self.duration.note(duration_ms);
    }
}

pub(super) const CELLS: usize = METHODS.len() * ENDPOINTS.len();

/// The cells that have counted requests, with their methods and endpoints.
pub(super) fn used(cells: &[Cell]) -> impl Iterator<Item = (&'static str, &'static str, &Cell)> {
    let used = cells.iter().enumerate();
    let used = used.filter(|(_, cell)| !cell.duration.is_empty());
    used.map(|(at, cell)| {
        let (endpoint, method) = (at / METHODS.len(), at % METHODS.len());
        (METHODS[method], ENDPOINTS[endpoint].0, cell)
    })
}

pub(super) fn status_names() -> &'static [String; STATUSES.len()] {
    static NAMES: LazyLock<[String; STATUSES.len()]> = LazyLock::new(|| {
        STATUSES.map(|status| match status {
            0 => "other".to_owned(),
            status => status.to_string(),
        })
    });
    &NAMES
}
