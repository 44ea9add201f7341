//! A client of HTTP/2 in the clear that cancels streams when it likes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::wait::patience;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection. Dropping it closes it.
pub struct H2Client {
    stream: TcpStream,
    received: HashMap<u32, Vec<u8>>,
    ended: Vec<u32>,
}

impl H2Client {
    /// Connects, and lets the server send so many bytes of each stream.
    pub fn connect(port: u16, window: u32) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the port is open");
        stream
            .set_read_timeout(Some(patience()))
            .expect("a timeout can be set");
        let mut client = Self {
            stream,
            received: HashMap::new(),
            ended: Vec::new(),
        };
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let initial_window = [&[0, 4][..], &window.to_be_bytes()].concat();
        client.frame(SETTINGS, 0, 0, &initial_window);
        client.frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        client
    }

    /// Sends a POST with a JSON body.
    pub fn post(&mut self, stream: u32, path: &str, body: &str) {
        // Of the static table: POST, http, the names :path and :authority.
        let mut block = vec![0x83, 0x86, 0x04];
        let text = |block: &mut Vec<u8>, text: &str| {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.bytes());
        };
        text(&mut block, path);
        block.push(0x01);
        text(&mut block, "localhost");
        block.push(0x00);
        text(&mut block, "content-type");
        text(&mut block, "application/json");
        self.frame(HEADERS, END_HEADERS, stream, &block);
        self.frame(DATA, END_STREAM, stream, body.as_bytes());
    }

    /// Cancels a stream.
    pub fn cancel(&mut self, stream: u32) {
        self.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }

    /// Reads until `needle` has arrived on a stream.
    #[track_caller]
    pub fn read_until(&mut self, stream: u32, needle: &str) {
        while !self.text(stream).contains(needle) {
            assert!(!self.ended.contains(&stream), "{}", self.text(stream));
            self.read_frame();
        }
    }

    /// Reads until so many bytes of a stream have arrived.
    #[track_caller]
    pub fn read_bytes(&mut self, stream: u32, bytes: usize) {
        while self.received.get(&stream).map_or(0, Vec::len) < bytes {
            self.read_frame();
        }
    }

    /// Reads until a stream ends in order, and gives its body.
    #[track_caller]
    pub fn read_to_end(&mut self, stream: u32) -> String {
        while !self.ended.contains(&stream) {
            self.read_frame();
        }
        self.text(stream)
    }

    fn text(&self, stream: u32) -> String {
        let received = self.received.get(&stream);
        received.map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into())
    }

    /// Reads a frame, which must be one that a server may send.
    #[track_caller]
    fn read_frame(&mut self) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).expect("a frame");
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).expect("its payload");
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        match kind {
            DATA => self.received.entry(stream).or_default().extend(payload),
            SETTINGS if flags == 0 => self.frame(SETTINGS, 1, 0, &[]),
            HEADERS | RST_STREAM | SETTINGS | WINDOW_UPDATE => {}
            other => panic!("a frame of the kind {other}: {payload:?}"),
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.ended.push(stream);
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short payload");
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.write(&frame);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("nginx reads");
    }
}
