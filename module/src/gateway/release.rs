//! The lease ends with the upstream's answer; in the LOG phase at the latest.

use nginx_safe::Request;

use super::Context;
use super::stream::usage;

/// The upstream has given its whole answer; the client may not have it yet.
pub fn answer_complete(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        ctx.attempt.borrow_mut().answer.is_complete = true;
    }
    ended(request);
}

/// Settles the usage and releases the lease, when nothing more is expected from the upstream.
pub fn ended(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        usage::settle(&request, ctx);
        ctx.let_go();
    }
}

/// Releases the lease of a request that was redirected internally to a location without a pool.
pub(super) fn leave_pool(request: &Request<'_>) {
    if request.is_internal()
        && let Some(ctx) = request.recalled::<Context>()
    {
        ctx.let_go();
    }
}
