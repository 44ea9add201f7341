//! Whom the load is for.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::answer::quoted;
use crate::bench::{BenchError, Options, system};

/// A URL, resolved, and the request that is sent to it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Target {
    pub(super) fn new(url: &str, options: &Options) -> Result<Self, BenchError> {
        let wrong = || BenchError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let bare = host.trim_matches(['[', ']']);
        let mut found = (bare, port)
            .to_socket_addrs()
            .map_err(system(format!("cannot find {host}")))?;
        let base = match uri.path().trim_end_matches('/') {
            "" => "/v1",
            path => path,
        };
        let path = format!("{base}/{}", options.path.trim_start_matches('/'));
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| wrong())?;
        Ok(Self {
            url: url.to_owned(),
            address: found.next().ok_or_else(wrong)?,
            tls: if https {
                Some((connector()?, name))
            } else {
                None
            },
            path,
            headers: headers(authority, options)?,
            body: body(options)?,
        })
    }
}

fn connector() -> Result<TlsConnector, BenchError> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let ring = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| system("TLS")(std::io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
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
