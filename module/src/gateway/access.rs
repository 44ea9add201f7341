//! ACCESS: the client's token.

use nginx_safe::{Flow, Request};
use openai_core::clients::TokenError;
use openai_wire::ApiError;

use super::refusal;
use crate::config::{Location, Main};
use crate::gateway::Context;

/// Finds the client of a request, where a token is asked for.
pub fn check(request: Request<'_>, location: &Location) -> Flow {
    if !location.asks_token() {
        return Flow::Decline;
    }
    let Some(ctx) = context_of(&request) else {
        return Flow::Answer(500);
    };
    match client_of(&request) {
        Ok(client) => {
            ctx.client.set(Some(client));
            Flow::Pass
        }
        Err(refusal) => refusal::refuse(ctx, refusal),
    }
}

/// The context of the request, made if there is none, begun anew after an
/// internal redirect.
pub fn context_of<'a>(request: &Request<'a>) -> Option<&'a Context> {
    if let Some(ctx) = request.context::<Context>() {
        return Some(ctx);
    }
    if let Some(ctx) = request.adopt::<Context>() {
        ctx.restart();
        return Some(ctx);
    }
    request.attach(Context::new)
}

/// The position of the client that the request's token names.
pub fn client_of(request: &Request<'_>) -> Result<usize, ApiError> {
    let clients = request
        .main_conf::<Main>()
        .and_then(|main| main.clients.as_ref());
    let clients = clients.ok_or(ApiError::Internal)?;
    let mut authorizations = request.headers_named(b"authorization");
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(ApiError::Status(400));
    }
    let service = request.headers_named(b"x-service-token").next();
    let client = clients
        .identify(authorization, service)
        .map_err(|e| match e {
            TokenError::Missing => ApiError::MissingToken,
            TokenError::Unknown => ApiError::WrongToken,
        })?;
    let position = clients
        .as_slice()
        .iter()
        .position(|c| std::ptr::eq(c, client));
    position.ok_or(ApiError::Internal)
}
