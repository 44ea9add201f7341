//! Releases the lease when the upstream's response is complete, in the LOG phase at the latest.

use nginx_safe::Request;

use super::{Context, usage};

/// Called when the upstream has sent its whole response; the client may not have it yet.
pub fn answer_complete(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        {
            let answer = &mut ctx.attempt.borrow_mut().answer;
            answer.state = answer.state.completed(answer.draining.is_some());
        }
        end(&request, ctx);
    }
}

/// Called when nothing more is expected from the upstream.
pub(super) fn ended(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Context>() {
        end(&request, ctx);
    }
}

/// Settles the usage and releases the lease.
fn end(request: &Request<'_>, ctx: &Context) {
    usage::settle(request, ctx);
    ctx.let_go();
}

/// Releases the lease of a request that was redirected internally to a location without a pool.
pub(super) fn leave_pool(request: Request<'_>) {
    if request.is_internal()
        && let Some(ctx) = request.recalled::<Context>()
    {
        ctx.let_go();
    }
}
