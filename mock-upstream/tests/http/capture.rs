//! All that one answer was on the wire.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::wire::tcp;

/// What a client got, from its request to the end of the connection.
pub(crate) struct Capture {
    pub(crate) status: u16,
    head: String,
    /// The pieces in which the body came: those of the transfer coding, or all in one.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Whether the transfer coding was ended.
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    pub(crate) elapsed: Duration,
}

impl Capture {
    /// Sends a request on a connection of its own, and reads until that is closed.
    pub(crate) fn of(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let mut tcp = tcp(address);
        let start = Instant::now();
        tcp.write_all(request.as_bytes()).expect("send");
        let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
        let reset = loop {
            match tcp.read(&mut buffer) {
                Ok(0) => break false,
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
                Err(error) => panic!("{error}"),
            }
        };
        Self::read(&bytes, reset, start.elapsed())
    }

    fn read(bytes: &[u8], reset: bool, elapsed: Duration) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            assert_eq!(bytes, b"", "half a head");
            return Self {
                status: 0,
                head: String::new(),
                pieces: Vec::new(),
                ended: false,
                reset,
                elapsed,
            };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("UTF-8");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let mut capture = Self {
            status: status.expect("a status"),
            head,
            pieces: Vec::new(),
            ended: false,
            reset,
            elapsed,
        };
        let body = &bytes[end + 4..];
        if capture.header("transfer-encoding") == Some("chunked") {
            (capture.pieces, capture.ended) = chunks(body);
        } else {
            capture.pieces.push(body.to_vec());
        }
        capture
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            (found == name).then_some(value)
        })
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body()).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body()).expect("JSON")
    }

    pub(crate) fn gunzipped(&self) -> String {
        let mut text = String::new();
        let body = self.body();
        let read = GzDecoder::new(&body[..]).read_to_string(&mut text);
        read.expect("gzip");
        text
    }

    /// The events of a stream.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = self.text();
        let events = text.split("\n\n").filter(|event| !event.is_empty());
        events
            .map(|event| event.trim_start_matches("data: ").to_owned())
            .collect()
    }

    /// What the events of a stream say, together.
    pub(crate) fn said(&self) -> String {
        let events = self.events();
        let events = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let words = events.filter_map(|event| {
            let word = event["choices"][0]["delta"]["content"].as_str();
            word.map(str::to_owned)
        });
        words.collect()
    }
}

/// The chunks of the transfer coding, as far as they are whole, and whether the last was there.
fn chunks(mut body: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut chunks = Vec::new();
    while let Some(line) = body.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&body[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return (chunks, true);
        }
        let start = line + 2;
        let Some(chunk) = body.get(start..start + size) else {
            break;
        };
        chunks.push(chunk.to_vec());
        body = &body[start + size + 2..];
    }
    (chunks, false)
}
