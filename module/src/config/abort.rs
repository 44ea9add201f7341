//! `openai_client_abort`: what to do with the response when the client has left.

use nginx_safe::ConfResult;

use super::lines;
use super::values::{self, DAY};

/// What to do with the upstream's response when the client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAbort {
    /// Close the connection to the upstream.
    Close,
    /// Read on for at most this time, and at most this number of bytes.
    Drain { time_ms: u64, size: u64 },
}

impl ClientAbort {
    pub fn parse(words: &[&str]) -> ConfResult<Self> {
        let bounds = match words {
            ["close"] => return Ok(Self::Close),
            ["drain", bounds @ ..] => bounds,
            _ => {
                let wanted = "\"close\" or \"drain [time=TIME] [size=SIZE]\"";
                return Err(values::invalid(&words.join(" "), wanted));
            }
        };
        let (mut time_ms, mut size) = (60_000, 8 << 20);
        lines::parameters(bounds, |option| {
            option.one("time", &mut time_ms, values::time(1..=DAY));
            option.one("size", &mut size, values::size);
        })?;
        Ok(Self::Drain { time_ms, size })
    }
}
