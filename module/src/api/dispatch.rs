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
            Some(place) if place.api.is_served() && is_public(&request) => Flow::Decline,
            Some(place) => gateway::access::check(request, place),
            None => Flow::Decline,
        }
    }
}

/// The handler in PRECONTENT.
pub struct Precontent;

impl PhaseHandler for Precontent {
    const PHASE: Phase = Phase::Precontent;

    fn run(request: Request<'_>) -> Flow {
        let (Some(place), Some(main)) =
            (request.location::<Location>(), request.main_conf::<Main>())
        else {
            return Flow::Decline;
        };
        if !place.api.is_served() {
            return gateway::run(request, place, main);
        }
        match gateway::access::context_of(&request) {
            Some(ctx) => run(request, ctx, main, place),
            None => Flow::Answer(500),
        }
    }
}
