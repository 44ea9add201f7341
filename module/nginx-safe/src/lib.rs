//! Safe types over nginx's structures: the only crate of the module with unsafe code.
//!
//! nginx calls `extern "C"` functions of this crate, which are generic over the crate's traits.
//! Each runs the safe code of the module inside [`guard`], so that a panic becomes an error of the
//! request in progress. The crate contains no names of a particular module; they come from the
//! caller.
//!
//! # What nginx guarantees
//!
//! The unsafe code relies on the following guarantees. The SAFETY comment of each block says which.
//!
//! - **Thread.** In each process one thread runs nginx and calls the modules. Only that thread
//!   reads and writes nginx's variables, requests and connections. A worker is forked from the
//!   master, and inherits no other thread.
//! - **Call.** What nginx passes to a callback is live until the callback returns: the
//!   `ngx_conf_t`, the request with its connection and upstream, the chain, the event. A cycle is
//!   not destroyed during a call. A request is destroyed during a call only if the callback itself
//!   ends it.
//! - **Pool.** Memory of a pool is valid until the pool is destroyed. The pool then runs each of
//!   its cleanups once, the last added first, and frees its memory after the last cleanup. The pool
//!   of a request is destroyed after the LOG phase, the pool of a configuration together with its
//!   cycle. The list `r->cleanup` is different: nginx runs it before the LOG phase.
//! - **Configuration.** nginx keeps one configuration of each module for the `http` block and one
//!   for each location, at the module's `ctx_index`. It passes them to `create_*_conf`, directives,
//!   `init_main_conf` and `merge_loc_conf`, in this order. During these calls there is no other
//!   reference to them. Afterwards they are only read.
//! - **Cycle.** nginx reads a configuration, maps and initialises its zones, and calls
//!   `init_module`; from then on the configuration is in force, and errors can only end the
//!   process. The previous cycle is destroyed after that: first the shared memory, then the pool. A
//!   worker runs one cycle until it ends. A process without a master would change to a new cycle on
//!   reload; this crate rejects the new configuration there.
//! - **Event loop.** A process has an event loop from `init_process` to `exit_process`. An event
//!   must not be moved or freed while nginx's timer tree or event queues refer to it. nginx calls
//!   event handlers from the loop, never from within another callback.
//! - **Zone.** The memory of a zone is shared by all processes. Only the holder of its slab mutex
//!   changes the content. nginx releases the mutex if the holder dies.
//! - **Lists.** Chains and lists end with a null link. Each link of a chain has a buffer; if the
//!   buffer is in memory, its bytes from `pos` to `last` are initialised. An `ngx_str_t` points to
//!   `len` bytes.
//! - **Upstream.** `r->upstream` is null or points into the pool of the request. nginx calls the
//!   upstream's hooks with the request, and sets `cleanup` to null when it finalizes the upstream.
//! - **References.** `r->main->count` is the number of references to a request: each will be
//!   released by one finalization. Finalizing with `NGX_DONE` releases one. A request whose `done`
//!   flag is set has already released its own.
//!
//! # How the types prevent misuse
//!
//! | type | protection |
//! |---|---|
//! | [`Request`], [`Conf`], [`Block`], [`Chunk`], [`AnswerHead`] | borrowed for one call; safe code cannot keep them, send them to another thread or construct them |
//! | contexts of requests, configurations | owned by a pool, looked up by their Rust type, borrowed as shared references for one call |
//! | [`Token`] | a number; it finds its request until the pool of the request is destroyed |
//! | [`Ending`], [`Flow`], [`Piece`], [`AttemptDecision`] | values: nginx is called with them after the safe code has returned |
//! | [`SharedZone`] | a number; each call looks up the zone of the configuration in force. The bytes are borrowed for one call, which cannot be nested |
//! | the line log | looked up in the same way; safe code has no value of it |
//! | [`Timer`], [`Peer`] | created only where there is an event loop; dropping them removes their events, unless the process is ending |
//! | [`TlsContext`], [`Tls`] | counted references to OpenSSL's context, which does not depend on the configuration |
//! | [`Background`] | its closure cannot contain those of the above that point to nginx, because they are not `Send`; it keeps the module loaded |
//! | [`clocks`] and other functions | panic or do nothing in a thread that is not nginx's |
//! | [`Directives`], [`HttpModule`] | passed to nginx only by [`export_module`], which implements an unsafe trait |
//!
//! Each misuse that must not compile has a `compile_fail` example at the type concerned. `make
//! test-stable` runs these examples and the tests of this crate, which are linked with nginx's
//! objects.

mod config;
mod destination;
mod filter;
mod flock;
mod in_force;
mod line_log;
mod log;
mod net;
mod process;
mod request;
mod reserve;
mod shm;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod thread;
mod upstream;

pub use config::directive::{
    Args, Directive, DirectiveEntry, Directives, Scope, argument, directive_entry,
    missing_semicolon,
};
pub use config::module::{HttpModule, LocationConf, MainConf};
pub use config::parse::{Block, Conf, ConfResult, Mistake, Position};
pub use filter::chain::{Chunk, Filter, Piece};
pub use filter::cut::{BodyPart, Cutter, Remainder};
pub use filter::edit::{Edit, Edits};
pub use flock::FolderLock;
pub use line_log::{log_line, takes_line};
pub use log::{Level, is_logged, write as log};
pub use net::peer::{Address, Peer};
pub use net::timer::{Timer, Watcher};
pub use net::tls::{Tls, TlsContext, TlsName};
pub use process::{
    alive, clocks, host_name, is_first_worker, is_testing, master_id, monotonic_ms, nginx_version,
    process_id, serves_requests,
};
pub use request::content::{Answer, Content};
pub use request::context::Token;
pub use request::ending::Ending;
pub use request::handle::Request;
pub use request::headers::{HeaderName, SentHeaders};
pub use request::phase::{Flow, PhaseHandler};
pub use shm::{SharedZone, ZoneContent};
pub use thread::Background;
pub use upstream::attempt::{AnswerHead, AttemptDecision};
pub use upstream::rewrite::Rewrite;

pub use config::variable::{Variable, VariableValue, Variables};
pub use upstream::wrap::Wrapped;

/// Items that the expansion of [`export_module`] uses. Not for other use.
#[doc(hidden)]
pub mod export {
    pub use crate::config::entries::Entries;
    pub use crate::config::module::{Callbacks, Exported, Record, callbacks, record};
}

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of a callback from nginx. Returns `failed` if it panics.
///
/// Unwinding into C is undefined behaviour, and aborting would end all streams of the worker. The
/// hook installed by [`log::route_panics`] has logged where the panic occurred.
pub(crate) fn guard<T>(failed: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(failed)
}
