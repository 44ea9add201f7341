//! Bodies with `Transfer-Encoding: chunked` (RFC 9112, section 7.1).

use httparse::{Status, parse_chunk_size};

/// The beginning of a chunked body, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dechunked {
    /// The data of the chunks, as far as they have been received.
    pub data: Vec<u8>,
    /// Whether nothing more follows: the last chunk and its trailers have been received, or the
    /// encoding is invalid.
    pub is_complete: bool,
}

/// Decodes the part of a chunked body that has been received.
#[must_use]
pub fn dechunk(body: &[u8]) -> Dechunked {
    let mut data = Vec::with_capacity(body.len());
    let mut rest = body;
    let is_complete = loop {
        // Without a digit, the parser would take the size for 0.
        if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            break true;
        }
        let (chunk, length) = match parse_chunk_size(rest) {
            Ok(Status::Complete((at, 0))) => break ends_trailers(&rest[at..]),
            Ok(Status::Complete((at, length))) => (&rest[at..], length),
            Ok(Status::Partial) => break false,
            Err(_) => break true,
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((whole, after)) = chunk.split_at_checked(length) else {
            data.extend_from_slice(chunk);
            break false;
        };
        data.extend_from_slice(whole);
        match after.strip_prefix(b"\r\n") {
            Some(next) => rest = next,
            None => break !b"\r\n".starts_with(after),
        }
    };
    Dechunked { data, is_complete }
}

/// Whether the lines after the last chunk contain the empty one, which ends the body.
fn ends_trailers(lines: &[u8]) -> bool {
    lines.starts_with(b"\r\n") || memchr::memmem::find(lines, b"\r\n\r\n").is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(data: &[u8], is_complete: bool) -> Dechunked {
        let data = data.to_vec();
        Dechunked { data, is_complete }
    }

    #[test]
    fn chunks_are_joined() {
        let whole = b"5\r\n{\"err\r\n4;ext=1\r\nor\":\r\n0\r\n\r\n";
        assert_eq!(dechunk(whole), decoded(b"{\"error\":", true));
        assert_eq!(dechunk(b""), decoded(b"", false));
        assert_eq!(dechunk(b"1"), decoded(b"", false));
        assert_eq!(dechunk(b"2\r\na"), decoded(b"a", false));
        assert_eq!(dechunk(b"2\r\naa\r"), decoded(b"aa", false));
        assert_eq!(dechunk(b"2\r\naaaa"), decoded(b"aa", true));
    }

    #[test]
    fn trailers_belong_to_the_body() {
        assert_eq!(dechunk(b"1\r\na\r\n0\r\n"), decoded(b"a", false));
        let begun = b"1\r\na\r\n0\r\nX-Sum: 1\r\n";
        assert_eq!(dechunk(begun), decoded(b"a", false));
        let whole = b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n";
        assert_eq!(dechunk(whole), decoded(b"a", true));
    }

    #[test]
    fn an_invalid_encoding_ends() {
        assert_eq!(dechunk(b"{}"), decoded(b"", true));
        assert_eq!(dechunk(b"1\r\na\r\nzz\r\n"), decoded(b"a", true));
        assert_eq!(dechunk(b"1\r\na\r\n\r\n"), decoded(b"a", true));
    }

    proptest! {
        #[test]
        fn any_split_is_decoded(
            parts in prop::collection::vec("[a-z\r\n0]{1,20}", 0..8),
            cut in 0..100_usize,
        ) {
            let mut body = Vec::new();
            for part in &parts {
                body.extend(format!("{:x}\r\n{part}\r\n", part.len()).bytes());
            }
            body.extend(b"0\r\n\r\n");
            let data = parts.concat();
            prop_assert_eq!(dechunk(&body), decoded(data.as_bytes(), true));
            let cut = cut.min(body.len() - 1);
            let part = dechunk(&body[..cut]);
            prop_assert!(!part.is_complete);
            prop_assert!(data.as_bytes().starts_with(&part.data));
        }
    }
}
