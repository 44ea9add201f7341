//! Safe types over nginx's structures: the only crate of the module with unsafe code.
//!
//! nginx calls `extern "C"` functions of this crate, which are generic over the crate's traits.
//! Each runs the safe code of the module inside [`guard`], so that a panic becomes an error of the
//! request in progress. The crate contains no names of a particular module; they come from the
//! caller.
//!
//! # Guarantees
//!
//! The unsafe code relies on the following guarantees of nginx. The SAFETY comment of each block
//! names the one it needs, or the function of nginx, OpenSSL or the system that gives it.
//!
//! - **Thread.** In each process one thread runs nginx and calls the modules. Only that thread
//!   reads and writes nginx's variables, requests and connections. A worker is forked from the
//!   master, and inherits no other thread. Some words are written only before nginx calls a module
//!   in a process: `ngx_pid`, `ngx_parent`, `ngx_worker`, `ngx_test_config`, `ngx_pagesize`.
//! - **Call.** What nginx passes to a callback is live until the callback returns: the
//!   `ngx_conf_t`, the request with its connection and upstream, the chain, the event. A cycle is
//!   not destroyed during a call. A request is destroyed during a call only if the callback itself
//!   ends it. There is one exception: if connections run short, ngx_get_connection closes idle
//!   client connections, and also ends requests that have been answered and are in lingering close.
//!   So [`Peer::connect`], [`Lookup::start`] and [`SharedZone::watch`] fail while a request is
//!   borrowed that nginx has not passed to the present callback.
//! - **Pool.** Memory of a pool is valid until the pool is destroyed. The pool then runs each of
//!   its cleanups once, the last added first, and frees its memory after the last cleanup. The pool
//!   of a request is destroyed after the LOG phase, the pool of a configuration together with its
//!   cycle. The list `r->cleanup` is different: nginx runs it before the LOG phase. Functions that
//!   allocate in a pool return null if memory runs out.
//! - **Zeroed.** nginx makes its structs by ngx_pcalloc or ngx_memzero, so all-zero bytes are a
//!   valid value of each: no event is in a queue, no buffer has bytes, a log has a level that logs
//!   nothing.
//! - **Modules.** A cycle has a list of pointers to the records of its modules, which ends with
//!   null. nginx writes to a record (its name and indices) only at its start and while it reads a
//!   configuration, not while it calls the module. It unloads a module only when it destroys a
//!   cycle that has loaded it.
//! - **Configuration.** nginx creates a cycle and its pool before it reads the configuration. It
//!   keeps one configuration of each module for the `http` block and one for each location, at the
//!   module's `ctx_index`. It passes them to `create_*_conf`, directives, `init_main_conf` and
//!   `merge_loc_conf`, in this order. It merges module by module, in the order of the list of
//!   modules, with `cf->ctx->loc_conf` set to that of the level being merged. `preconfiguration`
//!   precedes the directives, `postconfiguration` follows the merging. During these calls there is
//!   no other reference to the configurations. Afterwards they are only read.
//! - **Cycle.** nginx reads a configuration, opens its files, maps and initialises its zones, and
//!   calls `init_module`; from then on the configuration is in force, and errors can only end the
//!   process. The previous cycle is destroyed after that: first the shared memory, then the pool. A
//!   worker runs one cycle until it ends. A process without a master would change to a new cycle on
//!   reload; this crate rejects the new configuration there, unless that does not use the module.
//! - **Event loop.** A process has an event loop from `init_process` to `exit_process`. An event
//!   must not be moved or freed while nginx's timer tree or event queues refer to it. nginx calls
//!   the handlers of timers, posted events and channels, and those of connections made by this
//!   crate, from the loop, never from within another callback; it does not use an event after its
//!   handler has returned, unless it finds that event again. Only the read handlers of client
//!   connections are also called by ngx_get_connection (see "Call"), and that of a lookup by
//!   ngx_resolve_name.
//! - **Request.** nginx allocates a request, its `ctx`, `variables` and lists of headers in the
//!   pool of the request (ngx_http_alloc_request). A subrequest has a `ctx` and response headers of
//!   its own (ngx_http_subrequest), and shares the pool, `variables` and `request_body` of its main
//!   request. `ctx`, `main_conf` and `loc_conf` have an entry for each HTTP module, `variables` for
//!   each indexed variable. A new `ctx` is zeroed; an internal redirect zeroes it again.
//!   `main_conf` and `loc_conf` belong to the cycle. The connection outlives the request. nginx
//!   keeps the body as long as the request; a cleanup of the pool closes its temporary file.
//! - **Filters.** nginx calls header filters with a live request, and body filters with a live
//!   request and a chain or null. While a body filter runs, nothing else changes or frees the
//!   chain, its buffers and their bytes. A filter may change `pos` and `last` of a buffer. It keeps
//!   no links of the chain afterwards, but it may keep buffers: the sender of a buffer does not
//!   reuse it before `pos` has reached `last`. Filters do not finalize requests.
//! - **Zone.** The memory of a zone is shared by all processes, begins with nginx's slab pool, and
//!   is mapped as long as a cycle of the process uses it. nginx passes it to `init` once in each
//!   cycle, before the configuration is in force. Only the holder of its slab mutex changes the
//!   content. nginx releases the mutex if the holder dies.
//! - **Lists.** Chains and lists end with a null link. Each link of a chain has a buffer; if the
//!   buffer is in memory, its bytes from `pos` to `last` are initialised. An array has `nelts`
//!   elements. An `ngx_str_t` points to `len` bytes.
//! - **Upstream.** `r->upstream` is null or points into the pool of the request, as do its chains
//!   and lists. nginx calls the upstream's hooks with the request, and does not use the upstream
//!   otherwise before they return. It sets `cleanup` to null when it finalizes the upstream.
//! - **References.** `r->main->count` is the number of references to a request: each will be
//!   released by one finalization. Finalizing with `NGX_DONE` releases one. A request whose `done`
//!   flag is set has already released its own. A subrequest holds a reference to its main request.
//!   ngx_http_core_content_phase has a reference until the content handler returns.
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
//! | [`Lookup`] | started only where there is an event loop; dropping it discards the answer |
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
pub use filter::cut::{BodyPart, Remainder};
pub use filter::edit::{Edit, Edits};
pub use flock::FolderLock;
pub use line_log::{log_line, takes_line};
pub use log::{Level, is_logged, write as log};
pub use net::lookup::Lookup;
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
    pub use crate::config::module::{Callbacks, Exported, ModuleRecord, callbacks, record};
}

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of a callback from nginx. Returns `failed` if it panics.
///
/// Unwinding into C is undefined behaviour, and aborting would end all streams of the worker. The
/// hook installed by [`log::route_panics`] has logged where the panic occurred.
pub(crate) fn guard<T>(failed: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(failed)
}
