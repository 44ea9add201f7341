//! A mock of the OpenAI API, made for load testing what stands in front of it.
//!
//! [`app`] is the API as an axum router. [`Server`] serves it the fast way, one single-threaded
//! runtime a core, and hands back a [`MockServer`]; [`MockServer::start`] is the one-liner for
//! tests. A [`Scenario`] says what is answered and how fast; a client may ask for [`Fault`]s by
//! `X-Mock-…` request headers; [`Stats`] tells what arrived under which API key, and above all
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

mod accept;
mod answer;
mod chunks;
mod connection;
mod deny;
mod duration;
mod error;
mod exchange;
mod fault;
mod gauge;
mod head;
mod ident;
mod listen;
mod overlap;
mod pace;
mod routes;
mod scenario;
mod script;
mod server;
mod stats;
mod stream;
mod tls;
mod witness;

pub use deny::{DenyToken, EmptyToken};
pub use duration::{DurationError, parse_duration};
pub use fault::{Fault, FaultError};
pub use overlap::{Overlap, Party};
pub use routes::app;
pub use scenario::Scenario;
pub use server::{DEFAULT_GRACE, MockServer, Server, ServerError};
pub use stats::{Counters, Stats, key_hash};
pub use tls::{Tls, TlsError};
