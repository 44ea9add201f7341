//! Bodies of chat requests, from a short question up to the largest size that is scanned.

/// A question of one line, not streamed.
pub const SMALL: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"What is the capital of France?"}],"temperature":0.2,"max_tokens":64}"#;

const HEAD: &str = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":""#;
const TAIL: &str = r#""}],"user":"labeling-service"}"#;

/// Prose without characters that JSON escapes.
const PROSE: &str =
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. ";
/// Source code: short lines with quoted words.
const CODE: &str = r#"    if name == \"fox\" {\n        jump(over, \"dog\");\n    }\n"#;
/// Text escaped by an ASCII-only serializer, such as Python's `json.dumps`.
const ESCAPED: &str = r"\u0421\u044a\u0435\u0448\u044c \u0435\u0449\u0451 ";

/// A streamed request with one message of about `size` bytes of prose.
#[must_use]
pub fn prose(size: usize) -> Vec<u8> {
    one_message(PROSE, size)
}

/// A streamed request with one message of about `size` bytes of source code.
#[must_use]
pub fn code(size: usize) -> Vec<u8> {
    one_message(CODE, size)
}

/// A streamed request with one message of about `size` bytes of escaped Cyrillic.
#[must_use]
pub fn escaped(size: usize) -> Vec<u8> {
    one_message(ESCAPED, size)
}

fn one_message(text: &str, size: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size + HEAD.len() + TAIL.len() + text.len());
    body.extend_from_slice(HEAD.as_bytes());
    while body.len() < size {
        body.extend_from_slice(text.as_bytes());
    }
    body.extend_from_slice(TAIL.as_bytes());
    body
}

/// An embedding request of about `size` bytes that contains only numbers (token ids).
#[must_use]
pub fn tokens(size: usize) -> Vec<u8> {
    let mut body = br#"{"model":"text-embedding-3-small","input":[0"#.to_vec();
    let mut token = 1_u32;
    while body.len() < size {
        token = token.wrapping_mul(48_271) % 100_257;
        body.extend_from_slice(format!(",{token}").as_bytes());
    }
    body.extend_from_slice(b"]}");
    body
}
