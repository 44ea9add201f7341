//! The pages at `/status` and `/docs`. They contain no data. Their scripts request the data with a
//! token that the user enters.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

/// A page of HTML.
pub struct Page {
    /// The HTML, with style and script.
    pub html: String,
    /// The header `Content-Security-Policy`: permits only the page's own style and script, and
    /// requests to its own origin.
    pub policy: String,
}

/// The status page. Its script polls `/v1/status`.
pub static STATUS_PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = include_str!("status/page.css");
    let script = include_str!("status/page.js");
    Page::new(include_str!("status/page.html"), style, script, "")
});

/// The documentation page: Swagger UI over `/openapi.json`.
pub static DOCS_PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = include_str!("docs/page.css");
    let script = include_str!("docs/page.js");
    Page::new(include_str!("docs/page.html"), style, script, "'self' ")
});

/// A file that the documentation page loads: its media type and its content, compressed by gzip.
/// `name` is the query string of a request for the page, so that no further location is needed.
#[must_use]
pub fn docs_file(name: &[u8]) -> Option<(&'static [u8], &'static [u8])> {
    match name {
        b"swagger-ui.js" => Some((
            b"text/javascript; charset=utf-8",
            include_bytes!("docs/swagger-ui.js.gz"),
        )),
        b"swagger-ui.css" => Some((
            b"text/css; charset=utf-8",
            include_bytes!("docs/swagger-ui.css.gz"),
        )),
        _ => None,
    }
}

impl Page {
    /// Puts style and script into a page. `sources` is prepended to the sources that the policy
    /// permits for both.
    fn new(page: &str, style: &str, script: &str, sources: &str) -> Self {
        let hash = |text: &str| {
            let hash = BASE64_STANDARD.encode(Sha256::digest(text));
            format!("{sources}'sha256-{hash}'")
        };
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(style),
            hash(script)
        );
        Self {
            html: page.replace("{style}", style).replace("{script}", script),
            policy,
        }
    }
}
