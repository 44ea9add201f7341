//! The way of a request: who asks, for which key, and when that ends.

pub mod access;
mod context;
pub mod events;
mod head;
mod judge;
pub mod lease;
mod log;
mod release;
pub mod route;
pub mod stream;
pub mod trace;

pub use context::{Context, LeaseStatus, Reply, Stage, Wishes};
pub use judge::{answer_begun, attempt_failed, attempt_over};
pub use log::{CLIENT_LEFT, Log, add, client};
pub use release::{answer_complete, ended};
pub use stream::broken::answer_broken;
pub use stream::usage;

use nginx_safe::{Request, Token};

use crate::pool::News;

/// Tells a request of its wait or its lease; `false` when it has no use for that any more.
pub fn hear(token: Token, news: News) -> bool {
    if let News::Lost(handle) = news {
        let is_told = events::lease_lost(token, handle);
        stream::lost::lost(token, handle);
        return is_told;
    }
    token.with(|request| lease::hear(request, news)) == Some(true)
}

/// A subrequest is done; it has no log phase of its own.
pub fn subrequest_done(request: Request<'_>) {
    ended(request);
    add(&request);
}
