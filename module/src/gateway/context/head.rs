//! Properties of a request, read from its path and body.

use std::cell::{Cell, OnceCell};

use nginx_safe::Request;
use openai_core::metrics::Endpoint;
use openai_wire::Head;

use super::Context;

/// Properties of a request, read from its path and body.
#[derive(Default)]
pub struct HeadState {
    /// Head of the body, once it has been read.
    pub read: OnceCell<Head>,
    endpoint: Cell<Option<Endpoint>>,
}

impl HeadState {
    /// Forgets the endpoint, because an internal redirect may have changed the path.
    pub(super) fn restart(&self) {
        self.endpoint.set(None);
    }
}

impl Context {
    /// The endpoint of the request's path.
    pub fn endpoint(&self, request: &Request<'_>) -> Endpoint {
        let known = self.head.endpoint.get();
        let endpoint = known.unwrap_or_else(|| Endpoint::of(request.path()));
        self.head.endpoint.set(Some(endpoint));
        endpoint
    }
}
