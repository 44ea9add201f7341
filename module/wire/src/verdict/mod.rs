//! What the provider's answer says of the key that was used, and of the upstream.

#[cfg(test)]
mod tests;

/// Whom an answer speaks for or against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nobody: a good answer.
    Sound,
    /// The key: the provider does not take it.
    Revoked,
    /// The key: it is out of quota.
    Exhausted,
    /// The key, for a while: too many requests or tokens.
    Limited,
    /// The upstream: an error of its own, or no answer at all.
    Faulty,
    /// The client's request: nobody else's fault.
    Refused,
}

impl Verdict {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Sound,
        Self::Revoked,
        Self::Exhausted,
        Self::Limited,
        Self::Faulty,
        Self::Refused,
    ];

    /// Its name in logs and variables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Revoked => "revoked",
            Self::Exhausted => "exhausted",
            Self::Limited => "limited",
            Self::Faulty => "faulty",
            Self::Refused => "refused",
        }
    }

    /// Whether the key is to blame: another one may do better.
    #[must_use]
    pub const fn blames_key(self) -> bool {
        matches!(self, Self::Revoked | Self::Exhausted | Self::Limited)
    }
}

/// Judges an answer by its status, and by its body as far as that is there (which
/// may be nothing). Failures without an answer are [`Verdict::Faulty`].
#[must_use]
pub fn verdict(status: u16, body: &[u8]) -> Verdict {
    match status {
        0..=399 => Verdict::Sound,
        401 | 402 | 403 | 429 => of_error(status, ErrorHead::of(body)),
        500.. => Verdict::Faulty,
        400..=499 => Verdict::Refused,
    }
}

fn of_error(status: u16, error: ErrorHead<'_>) -> Verdict {
    if OUT_OF_QUOTA.iter().any(|&name| error.says(name)) {
        return Verdict::Exhausted;
    }
    // What clients can bring about with any key must not cost one.
    let too_large = error
        .message
        .is_some_and(|text| text.starts_with(b"Request too large"));
    let unfit = error
        .message
        .is_some_and(|text| text.starts_with(b"You have insufficient permissions"));
    let by_client = unfit || BY_CLIENT.iter().any(|&name| error.says(name));
    match status {
        402 => Verdict::Exhausted,
        429 if too_large => Verdict::Refused,
        429 => Verdict::Limited,
        _ if by_client => Verdict::Refused,
        // A page of something before the provider, which a client may have provoked.
        403 if error == ErrorHead::default() => Verdict::Refused,
        _ => Verdict::Revoked,
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
    // Where the gateway stands.
    b"unsupported_country_region_territory",
];

/// What an error body says, in OpenAI's form: its strings as they are written, and as
/// far as they are there. The body may be cut short, and anything.
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

    /// Reads them from the beginning of a body.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut depth = 0u32;
        let mut in_error = false;
        // The string before a colon, until its value has been seen.
        let mut name: Option<&[u8]> = None;
        let mut rest = body;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'{' | b'[' => {
                    depth = depth.saturating_add(1);
                    if depth == 2 {
                        in_error = byte == b'{' && name == Some(b"error");
                    }
                    name = None;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    name = None;
                }
                b',' => name = None,
                b'"' => {
                    let Some((text, after)) = string(after) else {
                        break;
                    };
                    rest = after;
                    match name {
                        Some(b"type") if depth == 2 && in_error => found.kind = Some(text),
                        Some(b"code") if depth == 2 && in_error => found.code = Some(text),
                        Some(b"message") if depth == 2 && in_error => found.message = Some(text),
                        _ => {}
                    }
                    let colon = rest.iter().find(|byte| !byte.is_ascii_whitespace());
                    name = (colon == Some(&b':')).then_some(text);
                }
                _ => {}
            }
        }
        found
    }
}

/// The rest of a string whose opening quote has been read, and what follows it;
/// `None` when it has no end.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some((bytes.get(..at)?, bytes.get(at + 1..)?));
        }
        from = at + 2;
    }
}
