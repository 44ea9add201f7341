//! Reads requests, and writes replies, as a node.

use openai_core::redlock::Value;

/// Reads the first request, and returns its words and its length in bytes. `None` if it is
/// incomplete.
pub fn request(bytes: &[u8]) -> Option<(Vec<&str>, usize)> {
    let mut at = 0;
    let count = number(bytes, &mut at, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(bytes, &mut at, b'$')?;
        let word = bytes.get(at..at + length)?;
        bytes.get(at + length + 1)?;
        words.push(str::from_utf8(word).unwrap());
        at += length + 2;
    }
    Some((words, at))
}

fn number(bytes: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
    let rest = bytes.get(*at..)?;
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    assert_eq!(rest[0], kind, "not a request");
    *at += end + 1;
    let digits = str::from_utf8(&rest[1..end - 1]).unwrap();
    Some(digits.parse().unwrap())
}

/// Writes a reply.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend_from_slice(b"$-1\r\n"),
        Value::Okay => out.extend_from_slice(b"+OK\r\n"),
        Value::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Value::Bytes(text) => {
            out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        Value::Array(items) => {
            out.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
            items.iter().for_each(|item| write(item, out));
        }
        Value::Error(kind) => {
            out.extend_from_slice(format!("-{} error\r\n", kind.as_str()).as_bytes());
        }
    }
}

/// Writes a push message.
pub fn write_push(words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!(">{}\r\n", words.len()).as_bytes());
    for word in words {
        write(&Value::Bytes(word.as_bytes().to_vec()), out);
    }
}
