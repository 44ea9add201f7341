//! The clients of a load: a connection for each request, so that a worker that ends closes no
//! connection on which a request may just be coming.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::load::LoadOutcome;
use crate::wait::patience;

/// How an event stream ends that arrives whole.
pub(crate) const END: &[u8] = b"data: [DONE]\n\n\r\n0\r\n\r\n";

/// Sends a request and reads the answer to its end.
pub fn stream_once(port: u16, request: &str) -> LoadOutcome {
    let Ok(received) = receive(port, request) else {
        return LoadOutcome::Broken;
    };
    match status(&received) {
        Some(200) if received.ends_with(END) => LoadOutcome::Complete,
        Some(200) | None => LoadOutcome::Broken,
        Some(status) => LoadOutcome::Answered(status),
    }
}

/// Sends a request and gives all that comes until the connection ends.
pub(crate) fn receive(port: u16, request: &str) -> std::io::Result<Vec<u8>> {
    let mut received = Vec::new();
    let mut stream = open(port, request)?;
    // The whole wait for a slot may lie in between.
    stream.set_read_timeout(Some(patience() * 4))?;
    stream.read_to_end(&mut received)?;
    Ok(received)
}

/// Sends a request and leaves at a moment that `whim` decides: at once, after some bytes, or
/// after some milliseconds. The answer may be quicker.
pub fn leave_early(port: u16, request: &str, whim: usize) -> LoadOutcome {
    let Ok(mut stream) = open(port, request) else {
        return LoadOutcome::Broken;
    };
    let whim = whim.wrapping_mul(0x9E37_79B9) >> 7;
    let mut some = vec![0; 1 + whim % 1_500];
    match whim % 3 {
        0 => {}
        1 => {
            let _ = stream.set_read_timeout(Some(patience() * 4));
            let _ = stream.read_exact(&mut some);
        }
        _ => {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(1 + whim as u64 % 40)));
            while matches!(stream.read(&mut some), Ok(1..)) {}
        }
    }
    LoadOutcome::Left
}

fn open(port: u16, request: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

pub(crate) fn status(received: &[u8]) -> Option<u16> {
    let line = received.get(..12)?;
    std::str::from_utf8(line)
        .ok()?
        .strip_prefix("HTTP/1.1 ")?
        .parse()
        .ok()
}
