//! The one home of raw pointers: safe types over nginx's own.
//!
//! nginx calls in through `extern "C"` functions that are generic over the
//! traits of this folder; each runs the safe code behind [`guard`], so that a
//! panic ends as an error of that one request. The types here know nothing of
//! leases or keys.

mod config;
mod destination;
mod filter;
mod flock;
mod line_log;
mod log;
mod net;
mod process;
mod request;
mod reserve;
mod shm;
#[cfg(test)]
mod testing;
mod text;
mod thread;
mod upstream;

pub use config::directive::{Args, Commands, Directive, Scope, argument, command, end};
pub use config::entries::Entries;
pub use config::module::{
    HttpModule, LocationConf, MainConf, callbacks, exit_master, exit_process, init_module,
    init_process,
};
pub use config::parse::{Block, Conf, ConfResult};
pub use filter::chain::{Chunk, Filter, Piece};
pub use filter::cut::{Cutter, Left, Part};
pub use filter::edit::{Edit, Editor, Edits};
pub use flock::FolderLock;
pub use line_log::{LineLog, log_line, takes_line};
pub use log::{Level, is_logged, write as log};
pub use net::peer::{Address, Peer};
pub use net::timer::{Timer, Watcher, watch};
pub use net::tls::{Tls, TlsContext, TlsName};
pub use process::{
    Cycle, alive, clocks, host_name, is_first_worker, is_testing, master_id, monotonic_ms,
    nginx_version, process_id, serves_requests,
};
pub use request::content::{Answer, Content};
pub use request::context::Token;
pub use request::ending::Ending;
pub use request::handle::Request;
pub use request::headers::{HeaderName, SentHeaders};
pub use request::phase::{Flow, Phase, PhaseHandler};
pub use shm::{SharedZone, ZoneContent};
pub use thread::Background;
pub use upstream::attempt::{AnswerHead, AttemptDecision, End};
pub use upstream::rewrite::Rewrite;

pub use config::variable::{Value, Variable, Variables};
pub use upstream::wrap::{ContentHandler, Wrapped};

#[doc(hidden)]
pub use ngx::ffi as raw;

/// The record by which nginx knows a module; [`export_module`] makes it.
pub type ModuleRecord = ngx::ffi::ngx_module_t;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what nginx called; a panic becomes `failed`.
///
/// Unwinding into C is undefined, and aborting would end every stream of the
/// worker. The panic's message has been printed by the hook that
/// [`log::route_panics`] installs.
pub(crate) fn guard<T>(failed: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(failed)
}
