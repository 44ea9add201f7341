//! Verdicts on responses to probes (`GET /v1/models`).

use memchr::memmem;

use super::verdict::{ErrorHead, Verdict, verdict};

/// Maximum length of a response that is read, in bytes.
const ENOUGH: usize = 16 << 10;

/// Judges the part of a response received so far; `None` if more is needed. `ended` means that
/// nothing more follows.
#[must_use]
pub fn judge(received: &[u8], ended: bool) -> Option<Verdict> {
    let over = ended || received.len() >= ENOUGH;
    let Some(end) = memmem::find(received, b"\r\n\r\n") else {
        return over.then_some(Verdict::UpstreamError);
    };
    let Some(status) = status(received) else {
        return Some(Verdict::UpstreamError);
    };
    let body = &received[end + 4..];
    let by_body = matches!(status, 401..=403 | 429);
    if by_body && !over && ErrorHead::of(body).code.is_none() {
        return None;
    }
    Some(verdict(status, body))
}

fn status(received: &[u8]) -> Option<u16> {
    let rest = received.strip_prefix(b"HTTP/1.")?;
    match rest {
        [b'0' | b'1', b' ', digits @ ..] => {
            let digits = str::from_utf8(digits.get(..3)?).ok()?;
            digits.parse().ok().filter(|status| *status >= 200)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status} So\r\nA: b\r\n\r\n{{\"error\":{{\"code\":\"{code}\"}}}}").into()
    }

    #[test]
    fn an_answer_is_judged_as_soon_as_that_can_be() {
        let answer = answer(401, "invalid_api_key");
        let first = (0..=answer.len()).find_map(|to| judge(&answer[..to], false));
        assert_eq!(first, Some(Verdict::InvalidKey));
        let head = b"HTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(judge(head, false), Some(Verdict::Ok));
        assert_eq!(judge(&head[..head.len() - 1], false), None);
    }

    #[test]
    fn verdicts_are_those_of_requests() {
        for (status, code, expected) in [
            (403, "mismatched_project", Verdict::ClientError),
            (429, "insufficient_quota", Verdict::QuotaExceeded),
            (429, "rate_limit_exceeded", Verdict::RateLimited),
            (503, "", Verdict::UpstreamError),
            (404, "", Verdict::ClientError),
        ] {
            assert_eq!(judge(&answer(status, code), true), Some(expected));
        }
    }

    #[test]
    fn what_is_no_answer_is_the_upstreams_fault() {
        for received in [&b""[..], b"SSH-2.0", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 "] {
            assert_eq!(judge(received, true), Some(Verdict::UpstreamError));
            assert_eq!(judge(received, false), None);
        }
        for head in [
            "HTTP/1.1 99 x",
            "HTTP/2 200 x",
            "HTTP/1.1 +20",
            "HTTP/1.1 100 x",
            "x",
        ] {
            let received = format!("{head}\r\n\r\n");
            assert_eq!(
                judge(received.as_bytes(), false),
                Some(Verdict::UpstreamError)
            );
        }
        assert_eq!(judge(&[b'x'; ENOUGH], false), Some(Verdict::UpstreamError));
    }
}
