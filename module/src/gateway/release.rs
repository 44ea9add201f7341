//! The lease ends with the upstream's answer; in the LOG phase at the latest.

use nginx_safe::Request;

use super::stream::usage;
use crate::Openai;

/// Nothing more comes from the upstream: the key is of no use any more.
pub fn ended(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Openai>() {
        usage::settle(&request, ctx);
        ctx.let_go();
    }
}
