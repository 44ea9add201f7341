//! `openai_client_abort`: what becomes of an answer whose client has left.

use std::ffi::CStr;

use nginx_safe::{Args, Conf, ConfResult, Directive, Scope};

use super::{Location, values};

const LONGEST_MS: u64 = 86_400_000;

/// What becomes of an answer whose client has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAbort {
    /// The upstream's connection is closed.
    #[default]
    Close,
    /// It is read on, for so long, and up to so many bytes.
    Drain { time_ms: u64, size: u64 },
}

impl ClientAbort {
    fn parse(words: &[&str]) -> ConfResult<Self> {
        match words {
            ["close"] => Ok(Self::Close),
            ["drain", bounds @ ..] => {
                let (mut time, mut size) = (None, None);
                for word in bounds {
                    match word.split_once('=') {
                        Some(("time", value)) => values::once(&mut time, time_ms(value)),
                        Some(("size", value)) => values::once(&mut size, values::size(value)),
                        _ => return Err(format!("invalid parameter \"{word}\"")),
                    }
                    .map_err(|e| format!("\"{word}\": {e}"))?;
                }
                Ok(Self::Drain {
                    time_ms: time.unwrap_or(60_000),
                    size: size.unwrap_or(8 << 20) as u64,
                })
            }
            _ => Err(format!(
                "invalid value \"{}\", it must be \"close\" or \"drain [time=TIME] [size=SIZE]\"",
                words.join(" ")
            )),
        }
    }
}

fn time_ms(text: &str) -> ConfResult<u64> {
    match values::time_ms(text)? {
        ms @ 1..=LONGEST_MS => Ok(ms),
        _ => Err("is out of range, it must be from 1ms to 1d".into()),
    }
}

pub struct OnClientAbort;

impl Directive for OnClientAbort {
    type Target = Location;
    const NAME: &'static CStr = c"openai_client_abort";
    const SCOPE: Scope = Scope::Everywhere;
    const ARGS: Args = Args::Many;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        let words = conf.words()?;
        let said = ClientAbort::parse(words.get(1..).unwrap_or_default());
        values::once(&mut target.client_abort, said).map_err(Some)
    }
}
