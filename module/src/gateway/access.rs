//! Identifies the client of a request by its token.

use nginx_safe::Request;
use openai_wire::ApiError;

use crate::config::Main;

/// Position of the client that has the request's token.
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
    Ok(clients.identify(authorization, service)?)
}
