//! Identifies the client of a request by its token.
//!
//! The step runs in nginx's ACCESS phase, where `satisfy any` may admit a request that the step
//! refuses. So the driver answers nginx at once, and the request has no stage before PRECONTENT.

use nginx_safe::Request;
use openai_wire::ApiError;

use super::{Context, Stage, Step};
use crate::config::Main;

/// Notes the client that has the request's token. Refuses the request if there is none. The lock
/// service also calls this, for requests that another module has admitted.
pub fn check_token(request: &Request<'_>, ctx: &Context) -> Step {
    let main = request.main_conf::<Main>();
    let clients = main.and_then(|main| main.clients.as_ref());
    let mut authorizations = request.headers_named(b"authorization");
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Step::Refuse(ApiError::Status(400));
    }
    let service = request.headers_named(b"x-service-token").next();
    match clients.map(|clients| clients.identify(authorization, service)) {
        Some(Ok(client)) => {
            ctx.access.client.set(Some(client));
            Step::Next(Stage::Fresh)
        }
        Some(Err(error)) => Step::Refuse(error.into()),
        None => Step::Refuse(ApiError::Internal),
    }
}
