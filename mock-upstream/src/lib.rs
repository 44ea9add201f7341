//! A mock of the OpenAI API, made for load testing what stands in front of it.
//!
//! [`app`] is the API as an axum router. [`Server`] serves it the fast way, one single-threaded
//! runtime a core, and hands back a [`MockServer`]; [`MockServer::start`] is the one-liner for
//! tests. A [`Scenario`] says what is answered and how fast; a client may ask for [`Fault`]s by
//! `X-Mock-…` request headers; [`Stats`] reports what arrived under which API key, and above all
//! how many requests of one key were ever in flight at once.
//!
//! ```
//! use std::time::Duration;
//! use mock_upstream::{MockServer, Scenario};
//!
//! let mock = MockServer::start(Scenario::new().text("hello world").delay(Duration::ZERO))?;
//! println!("base URL: {}/v1", mock.url());
//! assert_eq!(mock.stats().totals.requests, 0);
//! mock.shutdown();
//! # Ok::<(), mock_upstream::ServerError>(())
//! ```

pub mod bench;

mod accept;
mod alarm;
mod answer;

mod body;
mod chunks;
mod clock;
mod connection;
mod deny;
mod duration;
mod error;
mod events;
mod exchange;
mod fault;
mod file;
mod gauge;
mod head;
mod headers;
mod ident;
mod journal;
mod keys;
mod latency;
mod limits;
mod listen;
mod metrics;
mod mischief;
mod overlap;
mod pace;
mod record;
mod remote;
mod replay;
mod routes;
mod rule;
mod scenario;
mod script;
mod server;
mod settings;
mod state;
mod stats;
mod stream;
mod tls;
mod validate;
mod witness;

pub use clock::Clock;
pub use deny::{DenyToken, EmptyToken};
pub use duration::{DurationError, parse_duration};
pub use error::ErrorName;
pub use fault::{Fault, Fields, FinishReason, Text};
pub use file::ScenarioSource;
pub use latency::{Latency, LatencyError};
pub use overlap::{Overlap, Party};
pub use record::{RecordError, Recorder};
pub use remote::RemoteError;
pub use replay::{Piece, Recording, Replay, ReplayError};
pub use routes::app;
pub use rule::Rule;
pub use scenario::{Scenario, ScenarioError};
pub use server::{DEFAULT_GRACE, MockServer, OnReload, Server, ServerError};
pub use settings::SettingError;
pub use stats::{Counters, Spending, Stats, key_hash};
pub use tls::{Tls, TlsError};
