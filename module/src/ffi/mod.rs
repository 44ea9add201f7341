//! The one home of raw pointers: safe types over nginx's own.
//!
//! nginx calls in through `extern "C"` functions that are generic over the
//! traits of this folder; each runs the safe code behind [`guard`], so that a
//! panic ends as an error of that one request. The types here know nothing of
//! leases or keys.

mod abort;
mod attempt;
mod body;
mod conf;
mod content;
mod context;
mod cut;
mod destination;
mod directive;
mod edit;
mod ending;
mod entries;
mod event;
mod export;
mod filter;
mod flock;
mod handler;
mod headers;
mod line_log;
mod log;
mod peer;
mod process;
mod reply;
mod request;
mod reserve;
mod rewrite;
mod shm;
mod swap;
mod text;
mod thread;
mod tls;
mod upstream;
mod variable;

pub use attempt::{AnswerHead, Attempt, End};
pub use conf::{Block, Conf, ConfResult};
pub use content::{Answer, Content};
pub use context::Token;
pub use cut::{Cutter, Left, Part};
pub use directive::{Args, Commands, Directive, Scope, argument, command, end};
pub use edit::Editor;
pub use ending::Ending;
pub use entries::Entries;
pub use event::{Timer, Watcher, watch};
pub use export::{
    HttpModule, LocationConf, MainConf, callbacks, exit_master, exit_process, init_module,
    init_process,
};
pub use filter::{Chunk, Filter, Piece};
pub use flock::FolderLock;
pub use handler::{Flow, Phase, PhaseHandler};
pub use headers::{HeaderName, SentHeaders};
pub use line_log::{LineLog, log_line, takes_line};
pub use log::{Level, is_logged, write as log};
pub use peer::{Address, Peer};
pub use process::{
    Cycle, alive, clocks, host_name, is_first_worker, is_testing, master_id, monotonic_ms,
    nginx_version, process_id, serves_requests,
};
pub use request::Request;
pub use rewrite::Rewrite;
pub use shm::{SharedZone, ZoneContent};
pub use thread::Background;
pub use tls::{Tls, TlsContext, TlsName};

pub use upstream::{ContentHandler, Wrapped};
pub use variable::{Value, Variable, Variables};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what nginx called; a panic becomes `failed`.
///
/// Unwinding into C is undefined, and aborting would end every stream of the
/// worker. The panic's message has been printed by the hook that
/// [`log::route_panics`] installs.
pub(crate) fn guard<T>(failed: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(failed)
}
