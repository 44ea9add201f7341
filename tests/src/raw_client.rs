//! Clients that write bytes and leave when they like.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use crate::answer::Answer;
use crate::wait::patience;

/// A connection on which a test says exactly what is sent. Dropping it closes it.
pub struct RawClient {
    stream: TcpStream,
    received: Vec<u8>,
}

impl RawClient {
    /// Connects to a port of 127.0.0.1.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the port is open");
        stream
            .set_read_timeout(Some(patience()))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(patience()))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("Nagle can be switched off");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Writes; a server that has already closed is no error, since hostile clients meet that.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(e) => panic!("cannot write: {e}"),
        }
        self
    }

    /// Reads until `needle` has arrived, and gives all that has been received so far.
    #[track_caller]
    pub fn read_until(&mut self, needle: &str) -> String {
        loop {
            if let text = String::from_utf8_lossy(&self.received)
                && text.contains(needle)
            {
                return text.into_owned();
            }
            assert!(
                self.read_some(),
                "closed before {needle:?}: {}",
                self.text()
            );
        }
    }

    /// Reads until the server closes, and gives all that has been received.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        while self.read_some() {}
        self.text()
    }

    /// Reads until the server closes; the answer must have a head, and its body is taken as it is.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let text = self.read_to_end();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {text}"));
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let fields = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            headers: fields
                .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
                .collect(),
            body: body.into(),
        }
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub fn finish_sending(&mut self) -> &mut Self {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Reads what there is; false at the end, be it in order or a reset.
    #[track_caller]
    fn read_some(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.received.extend_from_slice(&chunk[..n]);
                true
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) => panic!("cannot read ({e}) after: {}", self.text()),
        }
    }
}

/// The bytes of a POST to `/v1/chat/completions` with more header lines, each ended by `\r\n`.
pub fn post(header_lines: &str, body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n{header_lines}\r\n{body}",
        body.len()
    )
}
