//! The gateway as its clients see it: real nginx, real sockets, a file for each behaviour.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod auth;
mod balance;
mod bodies;
mod body_limits;
mod broken_streams;
mod circuits;
mod clones;
mod configs;
mod container;
mod dev_mode;
mod draining;
mod endings;
mod failing_calls;
mod failover;
mod hostile;
mod http2;
mod inheritance;
mod injection;
mod inner_locations;
mod key_health;
mod key_watch;
mod keys;
mod lease_ttl;
mod leases;
mod lock_service;
mod log_format;
mod misconfigured;
mod other_filters;
mod own_answers;
mod own_header;
mod probes;
mod quit;
mod redirects;
mod redlock;
mod reload;
mod routes;
mod single_process;
mod snippets;
mod stats;
mod stopped_worker;
mod streaming;
mod subrequests;
mod tls;
mod tracing;
mod upstream_faults;
mod usage;
mod variables;
mod waiting;
mod witness;
