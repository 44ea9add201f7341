//! A client that sees HTTP/1.1 as it is on the wire, chunk by chunk.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mock_upstream::{MockServer, Scenario};
use serde_json::Value;

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const STREAM: &str = r#"{"model":"gpt-4o","stream":true}"#;
/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mock whose streams have no pauses.
pub(crate) fn quick() -> MockServer {
    start(Scenario::new().delay(Duration::ZERO))
}

/// A mock whose streams pause for good after the first word.
pub(crate) fn stalling() -> MockServer {
    start(Scenario::new().delay(Duration::from_secs(3600)))
}

pub(crate) fn start(scenario: Scenario) -> MockServer {
    MockServer::start(scenario).expect("the mock starts")
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) struct Client<S> {
    stream: BufReader<S>,
}

pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
}

pub(crate) fn connect(address: SocketAddr) -> Client<TcpStream> {
    Client::over(tcp(address))
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).expect("connect");
    tcp.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    tcp.set_nodelay(true).expect("set no delay");
    tcp
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        self.send_part_of(method, path, headers, body.len(), body);
    }

    /// Sends a head that promises `length` bytes, and the `body` given.
    pub(crate) fn send_part_of(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
        body: &[u8],
    ) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: mock\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {length}\r\n\r\n"));
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .expect("send a head");
        self.stream.get_mut().write_all(body).expect("send a body");
    }

    /// Sends a chat request that asks for a stream.
    pub(crate) fn ask(&mut self, headers: &[(&str, &str)]) {
        self.send("POST", CHAT, headers, STREAM.as_bytes());
    }

    pub(crate) fn head(&mut self) -> Head {
        let status = self.line();
        let mut headers = HashMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_owned(), value.to_owned());
        }
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Head {
            status: status.expect("a status line"),
            headers,
        }
    }

    /// The next chunk of the transfer coding; `None` after the last.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<String>> {
        let mut size = String::new();
        if self.stream.read_line(&mut size)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk size");
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk)?;
        assert_eq!(chunk.split_off(size), b"\r\n");
        Ok((size > 0).then(|| String::from_utf8(chunk).expect("UTF-8")))
    }

    /// The chunks that are left.
    pub(crate) fn chunks(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.chunk().expect("a chunk")).collect()
    }

    /// The head of a stream and all its events, in however many chunks they come.
    pub(crate) fn whole_stream(&mut self) -> (Head, Vec<String>) {
        let head = self.head();
        let text = self.chunks().concat();
        let events = text.split_inclusive("\n\n").map(str::to_owned);
        (head, events.collect())
    }

    /// The head and the JSON of an answer in one piece.
    pub(crate) fn json(&mut self) -> (Head, Value) {
        let head = self.head();
        let length = head.headers["content-length"].parse().expect("a length");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        (head, serde_json::from_slice(&body).expect("JSON"))
    }

    /// What is left when the server closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }
}
