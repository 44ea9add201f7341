//! The lease ends with the upstream's answer; in the LOG phase at the latest.

use nginx_safe::{Flow, Phase, PhaseHandler, Request};

use crate::Openai;
use crate::{totals, usage};

pub struct Log;

impl PhaseHandler for Log {
    const PHASE: Phase = Phase::Log;

    fn run(request: Request<'_>) -> Flow {
        ended(request);
        totals::add(&request);
        Flow::Decline
    }
}

/// Nothing more comes from the upstream: the key is of no use any more.
pub fn ended(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Openai>() {
        usage::settle(&request, ctx);
        ctx.let_go();
    }
}
