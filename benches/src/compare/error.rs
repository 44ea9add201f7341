//! The errors of comparisons.

use std::io;
use std::time::Duration;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0} is not there; see the target `bench` of the Makefile for what it needs")]
    Missing(String),
    #[error("{program} ended: {output}")]
    Ended {
        program: &'static str,
        output: String,
    },
    #[error("{what} did not happen within {patience:?}")]
    Late { what: String, patience: Duration },
    #[error("wrk: {0}")]
    Wrk(String),
    #[error("{path}: wrong answer: {why}")]
    Answer { path: String, why: String },
    #[error("{path}: the mock saw {why}")]
    Witness { path: String, why: String },
    #[error("nginx logged: {0}")]
    Logged(String),
    #[error("{url}: {source}")]
    Http {
        url: String,
        source: Box<ureq::Error>,
    },
    #[error("{what}: {source}")]
    Json {
        what: &'static str,
        source: serde_json::Error,
    },
}

pub type Result<T> = std::result::Result<T, Error>;

/// Adds a description of the operation to an error of the operating system.
pub trait While<T> {
    fn while_doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T> While<T> for io::Result<T> {
    fn while_doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what.into(),
            source,
        })
    }
}
