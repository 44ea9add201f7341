//! Which part of the module a request is for, by the configuration of its location.

use nginx_safe::{Flow, Phase, PhaseHandler, Request};

use super::{is_public, run};
use crate::config::{Location, Main};
use crate::gateway;

/// The handler in ACCESS.
pub struct Access;

impl PhaseHandler for Access {
    const PHASE: Phase = Phase::Access;

    fn run(request: Request<'_>) -> Flow {
        match request.location::<Location>() {
            Some(location) if location.api.is_served() && is_public(&request) => Flow::Decline,
            Some(location) => gateway::access::check(request, location),
            None => Flow::Decline,
        }
    }
}

/// The handler in PRECONTENT.
pub struct Precontent;

impl PhaseHandler for Precontent {
    const PHASE: Phase = Phase::Precontent;

    fn run(request: Request<'_>) -> Flow {
        let (Some(location), Some(main)) =
            (request.location::<Location>(), request.main_conf::<Main>())
        else {
            return Flow::Decline;
        };
        if !location.api.is_served() {
            return gateway::run(request, location, main);
        }
        match gateway::access::context_of(&request) {
            Some(ctx) => run(request, ctx, main, location),
            None => Flow::Answer(500),
        }
    }
}
