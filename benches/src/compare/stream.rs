//! A client for what wrk cannot measure: the first token, and streams that stay open.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Error, Result, While};
use crate::site::CLIENT_TOKEN;

/// The model in the requests.
pub const MODEL: &str = "gpt-4o-mini";

/// A request body of ordinary length, for this client and for wrk.
pub const BODY: &str = r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"What is the capital of France?"}],"temperature":0.2,"max_tokens":64}"#;

const OK: &[u8] = b"HTTP/1.1 200 ";

/// A request that can be sent repeatedly.
#[derive(Clone, Debug)]
pub struct Request {
    path: String,
    bytes: Vec<u8>,
    /// The number of events in a complete response, including `[DONE]`.
    events: usize,
}

/// When parts of a response arrived, counted from the sending of the request.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub first: Duration,
    pub whole: Duration,
}

impl Request {
    /// A streamed chat request for a number of words with a delay between them.
    pub fn chat(path: &str, words: usize, delay: Duration) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {CLIENT_TOKEN}\r\nX-Mock-Words: {words}\r\n\
             X-Mock-Delay: {}us\r\nContent-Length: {}\r\n\r\n{BODY}",
            delay.as_micros(),
            BODY.len()
        );
        Self {
            path: path.to_owned(),
            bytes: head.into_bytes(),
            events: words + 3, // the role, the words, the stop, [DONE]
        }
    }

    fn wrong(&self, why: &str, got: &[u8]) -> Error {
        Error::Answer {
            path: self.path.clone(),
            why: format!("{why}: {}", String::from_utf8_lossy(got)),
        }
    }
}

/// A persistent connection.
pub struct Client {
    connection: TcpStream,
    got: Vec<u8>,
}

impl Client {
    pub async fn connect(port: u16) -> Result<Self> {
        let connection = TcpStream::connect(("127.0.0.1", port)).await;
        let connection = connection.while_doing("connecting to nginx")?;
        connection.set_nodelay(true).while_doing("TCP_NODELAY")?;
        Ok(Self {
            connection,
            got: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends the request, and returns when the first event of the response has arrived.
    pub async fn begin(&mut self, request: &Request) -> Result<Begun> {
        self.got.clear();
        let start = Instant::now();
        let sent = self.connection.write_all(&request.bytes).await;
        sent.while_doing("sending a request")?;
        loop {
            self.read(request).await?;
            if self.got.len() >= OK.len() && !self.got.starts_with(OK) {
                return Err(request.wrong("not a 200", &self.got));
            }
            if count(&self.got, b"data: ") > 0 {
                return Ok(Begun {
                    start,
                    first: start.elapsed(),
                });
            }
        }
    }

    /// Sends the request, and reads the whole response.
    pub async fn exchange(&mut self, request: &Request) -> Result<Times> {
        let begun = self.begin(request).await?;
        self.end(begun, request).await
    }

    /// Reads the rest of a response.
    pub async fn end(&mut self, begun: Begun, request: &Request) -> Result<Times> {
        while !self.got.ends_with(b"\r\n0\r\n\r\n") {
            self.read(request).await?;
        }
        let whole = begun.start.elapsed();
        // A chunk with the usage does not count.
        let usage = count(&self.got, b"\"choices\":[],\"usage\"");
        let events = count(&self.got, b"data: ") - usage;
        if events != request.events || count(&self.got, b"data: [DONE]") != 1 {
            return Err(request.wrong("not the whole stream", &self.got));
        }
        Ok(Times {
            first: begun.first,
            whole,
        })
    }

    async fn read(&mut self, request: &Request) -> Result<()> {
        let read = self.connection.read_buf(&mut self.got).await;
        match read.while_doing("reading an answer")? {
            0 => Err(request.wrong("it broke off", &self.got)),
            _ => Ok(()),
        }
    }
}

/// A stream whose first event has arrived.
pub struct Begun {
    start: Instant,
    first: Duration,
}

fn count(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).filter(|w| *w == part).count()
}
