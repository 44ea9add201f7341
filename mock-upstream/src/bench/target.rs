//! Whom the load is for.

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::answer::quoted;
use crate::bench::{BenchError, Options};
use crate::remote::Remote;

/// A URL, resolved, and the request that is sent to it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) remote: Remote,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Target {
    pub(super) fn new(url: &str, options: &Options) -> Result<Self, BenchError> {
        let remote = Remote::find(url)?;
        let base = if remote.path.is_empty() {
            "/v1"
        } else {
            &remote.path
        };
        Ok(Self {
            url: url.to_owned(),
            path: format!("{base}/{}", options.path.trim_start_matches('/')),
            headers: headers(&remote.authority, options)?,
            body: body(options)?,
            remote,
        })
    }
}

fn headers(authority: &str, options: &Options) -> Result<HeaderMap, BenchError> {
    let mut headers = HeaderMap::new();
    let wrong = || BenchError::Header(authority.to_owned());
    headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| wrong())?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Ok(key) = std::env::var(&options.key_env) {
        let wrong = || BenchError::Header(format!("the key in {}", options.key_env));
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for header in &options.header {
        let wrong = || BenchError::Header(header.clone());
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        headers.insert(name, value.trim().parse().map_err(|_| wrong())?);
    }
    Ok(headers)
}

fn body(options: &Options) -> Result<Bytes, BenchError> {
    match &options.body {
        Some(path) => std::fs::read(path)
            .map(Bytes::from)
            .map_err(|error| BenchError::File {
                path: path.clone(),
                error,
            }),
        None => Ok(format!(
            "{{\"model\":{},\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Tell me \
             about load testing.\"}}]}}",
            quoted(&options.model)
        )
        .into()),
    }
}
