//! W3C Trace Context and request ids.
//!
//! Random numbers are passed in. Headers of clients are not trusted: only valid ones are forwarded.

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The `traceparent` to be sent: the client's trace or a new one, with the span of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent([u8; LENGTH]);

/// The defined flags: the caller may have recorded the trace, and the trace id is random.
const KNOWN_FLAGS: u8 = 0b11;
/// The flag `sampled`, set for new traces: every request is logged.
const SAMPLED: u8 = 0b01;

impl TraceParent {
    /// Continues the trace of a header with the span `span`; `None` when the header is invalid.
    /// Headers of later versions can be longer.
    pub fn continued(header: &[u8], span: u64) -> Option<Self> {
        let (known, more) = header.split_at_checked(LENGTH)?;
        let version = byte(&known[..2])?;
        let form = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        let ends = match version {
            0xff => false,
            0 => more.is_empty(),
            _ => matches!(more.first(), None | Some(b'-')),
        };
        let ids = is_id(&known[3..35]) && is_id(&known[36..52]);
        if !(form && ends && ids) {
            return None;
        }
        let flags = byte(&known[53..])? & KNOWN_FLAGS;
        let mut text = [b'-'; LENGTH];
        text[..2].copy_from_slice(b"00");
        text[3..35].copy_from_slice(&known[3..35]);
        write(u128::from(span.max(1)), &mut text[36..52]);
        write(u128::from(flags), &mut text[53..]);
        Some(Self(text))
    }

    /// Begins a new trace with the span `span`. Ids of 0 are invalid and replaced by 1.
    pub fn begun(trace: u128, span: u64) -> Self {
        let mut text = [b'-'; LENGTH];
        text[..2].copy_from_slice(b"00");
        write(trace.max(1), &mut text[3..35]);
        write(u128::from(span.max(1)), &mut text[36..52]);
        write(u128::from(SAMPLED), &mut text[53..]);
        Self(text)
    }

    /// The value of the header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &[u8] {
        &self.0[3..35]
    }

    /// The id of the gateway's span, 16 hexadecimal digits.
    pub fn span_id(&self) -> &[u8] {
        &self.0[36..52]
    }
}

/// Maximum length of a client's request id.
const LONGEST_ID: usize = 128;

/// Whether a client's `X-Request-ID` is used in logs and forwarded unchanged.
pub fn is_request_id(text: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.iter().all(sane)
}

/// Prefix of new request ids, the same as OpenAI's.
const ID_PREFIX: &[u8; 4] = b"req_";

/// A new request id: `req_` and 32 hexadecimal digits.
pub fn request_id(random: u128) -> [u8; 36] {
    let mut text = [0; 36];
    text[..4].copy_from_slice(ID_PREFIX);
    write(random, &mut text[4..]);
    text
}

/// Whether these are lower-case hexadecimal digits, not all zero.
fn is_id(digits: &[u8]) -> bool {
    digits.iter().all(|&digit| value(digit).is_some()) && digits.iter().any(|&digit| digit != b'0')
}

fn byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = *digits else { return None };
    Some(value(high)? << 4 | value(low)?)
}

/// The value of a digit; upper case is invalid here.
fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Writes the lowest digits of a number in hexadecimal.
fn write(mut number: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests;
