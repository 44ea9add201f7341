//! Verdicts on responses: what they show about the key and the upstream.

#[cfg(test)]
mod tests;

use crate::json::{JsonKind, Reader, Tokenizer};

/// What a response shows about the key and the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The upstream served the request.
    Ok,
    /// The provider does not accept the key.
    InvalidKey,
    /// The key is out of quota.
    QuotaExceeded,
    /// The key has sent too many requests or tokens.
    RateLimited,
    /// The upstream failed or did not respond.
    UpstreamError,
    /// The client's request caused the error.
    ClientError,
}

impl Verdict {
    /// All verdicts, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::InvalidKey,
        Self::QuotaExceeded,
        Self::RateLimited,
        Self::UpstreamError,
        Self::ClientError,
    ];

    /// The name in logs, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::InvalidKey => "invalid_key",
            Self::QuotaExceeded => "quota_exceeded",
            Self::RateLimited => "rate_limited",
            Self::UpstreamError => "upstream_error",
            Self::ClientError => "client_error",
        }
    }
}

/// Whether the verdict on a response with this status depends on its body.
#[must_use]
pub const fn depends_on_body(status: u16) -> bool {
    matches!(status, 401..=403 | 429)
}

/// Judges a response by its status and by the part of its body that is available, which may be
/// empty. A failure without a response is [`Verdict::UpstreamError`].
#[must_use]
pub fn verdict(status: u16, body: &[u8]) -> Verdict {
    match status {
        0..=399 => Verdict::Ok,
        _ if depends_on_body(status) => of_error(status, ErrorHead::of(body)),
        500.. => Verdict::UpstreamError,
        400..=499 => Verdict::ClientError,
    }
}

fn of_error(status: u16, error: ErrorHead<'_>) -> Verdict {
    if OUT_OF_QUOTA.iter().any(|&name| error.says(name)) {
        return Verdict::QuotaExceeded;
    }
    // A client must not be able to disable keys with such requests.
    let too_large = error
        .message
        .is_some_and(|text| text.starts_with(b"Request too large"));
    let unfit = error
        .message
        .is_some_and(|text| text.starts_with(b"You have insufficient permissions"));
    let by_client = unfit || BY_CLIENT.iter().any(|&name| error.says(name));
    match status {
        402 => Verdict::QuotaExceeded,
        429 if too_large => Verdict::ClientError,
        429 => Verdict::RateLimited,
        _ if by_client => Verdict::ClientError,
        // A page of a firewall before the provider, possibly provoked by the client.
        403 if error == ErrorHead::default() => Verdict::ClientError,
        _ => Verdict::InvalidKey,
    }
}

const OUT_OF_QUOTA: [&[u8]; 4] = [
    b"insufficient_quota",
    b"billing_hard_limit_reached",
    b"billing_not_active",
    b"quota_exceeded",
];

const BY_CLIENT: [&[u8]; 6] = [
    // Headers `OpenAI-Organization` and `OpenAI-Project`.
    b"mismatched_organization",
    b"mismatched_project",
    b"invalid_organization",
    // A model or an endpoint that the key's project may not use.
    b"model_not_found",
    b"missing_scope",
    // The location of the gateway.
    b"unsupported_country_region_territory",
];

/// The fields of an error body in OpenAI's form: the strings as written, as far as they are
/// present. The body may be truncated or invalid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorHead<'a> {
    /// `error.type`.
    pub kind: Option<&'a [u8]>,
    /// `error.code`, if it is a string.
    pub code: Option<&'a [u8]>,
    /// `error.message`.
    pub message: Option<&'a [u8]>,
}

impl<'a> ErrorHead<'a> {
    fn says(&self, name: &[u8]) -> bool {
        self.kind == Some(name) || self.code == Some(name)
    }

    /// Parses the beginning of a body.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        let mut reading = Reading {
            body,
            found: Self::default(),
            in_error: false,
            key: None,
            from: 0,
        };
        Tokenizer::<LONGEST>::at_value().feed(body, 0, &mut reading);
        reading.found
    }
}

const LONGEST: usize = b"message".len();

/// A key of interest.
#[derive(Clone, Copy)]
enum Key {
    Error,
    Type,
    Code,
    Message,
}

/// An error body being read.
struct Reading<'a> {
    body: &'a [u8],
    found: ErrorHead<'a>,
    /// Whether the value at depth one is the object `error`.
    in_error: bool,
    /// The last key; kept while its value is read.
    key: Option<Key>,
    /// Position of the text of that value.
    from: usize,
}

impl Reader for Reading<'_> {
    fn wants_key(&mut self, depth: usize) -> bool {
        depth == 1 || (depth == 2 && self.in_error)
    }

    fn key(&mut self, key: Option<&[u8]>, depth: usize) {
        self.key = match (key, depth) {
            (Some(b"error"), 1) => Some(Key::Error),
            (Some(b"type"), 2) => Some(Key::Type),
            (Some(b"code"), 2) => Some(Key::Code),
            (Some(b"message"), 2) => Some(Key::Message),
            _ => None,
        };
    }

    fn value(&mut self, kind: JsonKind, depth: usize, at: usize) -> bool {
        if depth == 1 {
            self.in_error = matches!((self.key, kind), (Some(Key::Error), JsonKind::Object));
        }
        let wanted = self.in_error && kind == JsonKind::String;
        if !wanted {
            self.key = None;
        }
        self.from = at + 1;
        wanted && self.key.is_some()
    }

    fn string(&mut self, _text: Option<&[u8]>, end: usize) {
        let text = self.body.get(self.from..end - 1);
        match self.key.take() {
            Some(Key::Type) => self.found.kind = text,
            Some(Key::Code) => self.found.code = text,
            Some(Key::Message) => self.found.message = text,
            Some(Key::Error) | None => {}
        }
    }
}
