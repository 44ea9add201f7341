//! LOG: the lease ends with the request.

use crate::Openai;
use crate::ffi::{Flow, Phase, PhaseHandler, Request};

pub struct Log;

impl PhaseHandler for Log {
    const PHASE: Phase = Phase::Log;

    fn run(request: Request<'_>) -> Flow {
        ended(request);
        Flow::Decline
    }
}

/// The request, or subrequest, is done.
pub fn ended(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Openai>() {
        ctx.let_go();
    }
}
