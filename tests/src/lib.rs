//! Harness of the end-to-end suite: a real nginx with the module before a mock upstream, driven
//! over real sockets.
//!
//! [`Plan`] says what the gateway under test looks like, [`Plan::start`] runs it, and dropping
//! the [`Gateway`] is a test of its own: every slot must be free again, nginx must end in order,
//! and its error log must hold nothing that it should not.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `E2E_NGINX` | the nginx to run | `/usr/sbin/nginx` |
//! | `E2E_MODULE` | the module to load | `target/release/ngx_http_openai_module.so` |
//! | `E2E_REDIS_SERVER` | the server to run as a Redis node | `redis-server` |
//! | `E2E_VALGRIND` | `1`: nginx runs under valgrind's memcheck, which must find nothing | |
//! | `E2E_ASAN` | `1`: nginx and the module are built with AddressSanitizer, which must report nothing | |
//! | `E2E_PATIENCE` | factor on every deadline, for slow runs under valgrind | `1` |
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness fails its test by panicking, and prints the reason"
)]

mod answer;
mod asan;
mod browser;
mod call;
mod cert;
mod clients;
mod config;
mod config_test;
mod dns;
mod error_log;
mod faults;
mod flavour;
mod gateway;
mod h2c;
mod json;
mod link;
mod load;
mod load_client;
mod log_line;
pub mod nemesis;
mod nginx;
mod observe;
mod pages;
mod plan;
mod port;
mod raw_client;
mod raw_upstream;
mod recorder;
mod redis;
mod shipped;
mod valgrind;
mod verdict;
mod wait;

pub use answer::{Answer, Events, Refusal};
pub use browser::Browser;
pub use call::Call;
pub use cert::{Authority, Certificate};
pub use clients::{node, python, python_with, schemathesis};
pub use config_test::ConfigTest;
pub use dns::Dns;
pub use error_log::ErrorLog;
pub use faults::{Fault, Faults};
pub use flavour::{Flavour, workspace};
pub use gateway::Gateway;
pub use h2c::H2Client;
pub use json::{events_in, json_lines};
pub use link::{Link, Way};
pub use load::{Load, LoadOutcome, Outcomes};
pub use load_client::{leave_early, stream_once};
pub use log_line::LogLine;
pub use nginx::{Nginx, VARIABLES};
pub use observe::Held;
pub use pages::Example;
pub use plan::{KEY, Plan};
pub use port::{closed_port, free_port};
pub use raw_client::{RawClient, post};
pub use raw_upstream::{Exchange, RawUpstream};
pub use recorder::Recorder;
pub use redis::Redis;
pub use shipped::{RunningShipped, Shipped};
pub use wait::{patience, wait_for, wait_until};
