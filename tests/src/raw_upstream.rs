//! Upstreams that answer as a test instructs them, step by step.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::wait::{patience, wait_for};

/// An upstream whose every byte is written by the test.
pub struct RawUpstream {
    listener: TcpListener,
}

impl RawUpstream {
    /// Listens on a port of its own.
    pub fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener
            .set_nonblocking(true)
            .expect("the listener can be non-blocking");
        Self { listener }
    }

    /// Where it listens, as `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.listener.local_addr().expect("it is bound").to_string()
    }

    /// Waits for the next connection and its first request.
    #[track_caller]
    pub fn accept(&self) -> Exchange {
        let mut exchange = self.accept_unread();
        exchange.read_request();
        exchange
    }

    /// Waits for the next connection, and leaves its request unread.
    #[track_caller]
    pub fn accept_unread(&self) -> Exchange {
        wait_for("nginx connects to the upstream", || self.take())
    }

    /// Takes the next connection and its first request, if there is one; otherwise sleeps for a
    /// moment, so that a loop around this leaves the processor to others.
    #[track_caller]
    pub fn try_accept(&self) -> Option<Exchange> {
        let Some(mut exchange) = self.take() else {
            thread::sleep(Duration::from_millis(1));
            return None;
        };
        exchange.read_request();
        Some(exchange)
    }

    fn take(&self) -> Option<Exchange> {
        let (stream, _) = self.listener.accept().ok()?;
        stream
            .set_nonblocking(false)
            .expect("the connection can be blocking");
        stream
            .set_read_timeout(Some(patience()))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("Nagle can be switched off");
        Some(Exchange {
            stream,
            received: Vec::new(),
            head: String::new(),
            body: Vec::new(),
        })
    }

    /// Whether a connection waits to be accepted.
    pub fn is_called(&self) -> bool {
        self.listener.accept().is_ok()
    }
}

/// A connection of nginx to a [`RawUpstream`]. Dropping it closes it in order.
pub struct Exchange {
    stream: TcpStream,
    received: Vec<u8>,
    /// The head of the last request.
    pub head: String,
    /// The body of the last request, if it came with a `Content-Length`.
    pub body: Vec<u8>,
}

impl Exchange {
    /// Waits for the next request on this connection.
    #[track_caller]
    pub fn next_request(&mut self) {
        self.received.clear();
        self.read_request();
    }

    /// The value of a header field of the last request, the first if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream
            .write_all(bytes.as_ref())
            .expect("nginx takes what the upstream sends");
        self
    }

    /// Sends a whole answer, after which the connection is to be closed.
    pub fn answer(&mut self) {
        self.send(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{}",
        );
    }

    /// Sends the head of an event stream.
    pub fn begin_stream(&mut self) -> &mut Self {
        self.send(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )
    }

    /// Sends one event.
    pub fn event(&mut self, data: &str) -> &mut Self {
        let event = format!("data: {data}\n\n");
        self.send(format!("{:x}\r\n{event}\r\n", event.len()))
    }

    /// Sends these bytes; false when nginx has closed the connection.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends an event stream in order.
    pub fn end_stream(&mut self) {
        self.event("[DONE]").send("0\r\n\r\n");
    }

    /// Closes the connection by a reset.
    pub fn reset(self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("linger is set");
    }

    /// Waits until nginx has closed the connection.
    #[track_caller]
    pub fn wait_closed(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return,
                Err(e) => panic!("nginx keeps the upstream connection: {e}"),
            }
        }
    }

    /// Reads a request, its body too: what is left unread would turn a close into a reset.
    #[track_caller]
    fn read_request(&mut self) {
        let end = loop {
            let text = String::from_utf8_lossy(&self.received);
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                self.head = head.to_owned();
                break head.len() + 4;
            }
            self.read_some();
        };
        let length = self.header("content-length").map_or(0, |length| {
            length
                .parse::<usize>()
                .expect("nginx sends a valid Content-Length")
        });
        while self.received.len() < end + length {
            self.read_some();
        }
        self.body = self.received[end..].to_vec();
    }

    #[track_caller]
    fn read_some(&mut self) {
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk).expect("nginx sends a request");
        assert_ne!(
            n, 0,
            "nginx closed the connection before the end of a request"
        );
        self.received.extend_from_slice(&chunk[..n]);
    }
}
