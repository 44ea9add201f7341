//! `openai_next_key` and its kin: which answers another key may cure, and how often
//! to try.

use std::ffi::CStr;

use nginx_safe::{Args, Conf, ConfResult, Directive, Scope, argument};
use openai_core::attempts::Fault;

use super::{Location, values};

const MOST_TRIES: u32 = 100;

/// The faults that send a request on with another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    error: bool,
    timeout: bool,
    /// A bit for each status from 400.
    statuses: [u64; 4],
}

impl Conditions {
    const NONE: Self = Self {
        error: false,
        timeout: false,
        statuses: [0; 4],
    };

    fn by_default() -> Self {
        let mut all = Self {
            error: true,
            timeout: true,
            ..Self::NONE
        };
        for status in [401, 403, 429, 500, 502, 503, 504] {
            all.add_status(status);
        }
        all
    }

    fn add_status(&mut self, status: u16) -> bool {
        let Some(at) = status.checked_sub(400).filter(|&at| at < 200) else {
            return false;
        };
        self.statuses[usize::from(at / 64)] |= 1 << (at % 64);
        true
    }

    /// Whether the fault is one of them.
    pub fn hold(&self, fault: Fault) -> bool {
        match fault {
            Fault::Error => self.error,
            Fault::Timeout => self.timeout,
            Fault::Status(status) => status.checked_sub(400).is_some_and(|at| {
                let word = self.statuses.get(usize::from(at / 64));
                word.is_some_and(|word| word >> (at % 64) & 1 == 1)
            }),
        }
    }

    fn parse(words: &[&str]) -> ConfResult<Self> {
        let mut said = Self::NONE;
        for word in words {
            let known = match *word {
                "off" if words.len() == 1 => true,
                "error" => {
                    said.error = true;
                    true
                }
                "timeout" => {
                    said.timeout = true;
                    true
                }
                _ => word
                    .strip_prefix("http_")
                    .and_then(|digits| digits.parse().ok())
                    .is_some_and(|status| said.add_status(status)),
            };
            if !known {
                return Err(format!(
                    "invalid value \"{word}\", it must be \"off\" alone, or any of \"error\", \
                     \"timeout\" and \"http_400\" to \"http_599\""
                ));
            }
        }
        Ok(said)
    }
}

/// What a level says of further attempts; `None` is inherited.
#[derive(Default)]
pub struct NextKey {
    conditions: Option<Conditions>,
    tries: Option<u32>,
    timeout_ms: Option<u64>,
    header: Option<bool>,
}

impl NextKey {
    pub fn inherit(&mut self, above: &Self) {
        self.conditions = self.conditions.or(above.conditions);
        self.tries = self.tries.or(above.tries);
        self.timeout_ms = self.timeout_ms.or(above.timeout_ms);
        self.header = self.header.or(above.header);
        // Looked at with each answer: not made anew each time.
        self.conditions.get_or_insert_with(Conditions::by_default);
    }

    /// Whether a fault sends a request on.
    pub fn cures(&self, fault: Fault) -> bool {
        self.conditions.is_some_and(|known| known.hold(fault))
    }

    /// How many attempts a request may make, those not counted whose key turns out to be
    /// invalid or out of quota.
    pub fn tries(&self) -> u32 {
        match self.tries {
            None => 3,
            Some(0) => MOST_TRIES,
            Some(tries) => tries,
        }
    }

    /// For how long after the first lease was asked for another attempt may begin.
    pub fn timeout_ms(&self) -> u64 {
        match self.timeout_ms {
            None => 30_000,
            Some(0) => u64::MAX,
            Some(time) => time,
        }
    }

    /// Whether answers tell how many attempts were made.
    pub fn tells(&self) -> bool {
        self.header.unwrap_or(false)
    }
}

pub struct NextKeyOn;

impl Directive for NextKeyOn {
    type Target = Location;
    const NAME: &'static CStr = c"openai_next_key";
    const SCOPE: Scope = Scope::Everywhere;
    const ARGS: Args = Args::Many;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        let words = conf.words()?;
        let place = &mut target.next_key.conditions;
        let said = Conditions::parse(words.get(1..).unwrap_or_default());
        values::once(place, said).map_err(Some)
    }
}

fn tries(text: &str) -> ConfResult<u32> {
    let tries = text.parse::<u32>().ok().filter(|n| *n <= MOST_TRIES);
    tries.ok_or_else(|| format!("invalid value \"{text}\", it must be from 0 to 100"))
}

macro_rules! directive {
    ($type:ident, $name:literal, $args:ident, $field:ident, $parse:expr) => {
        pub struct $type;
        impl Directive for $type {
            type Target = Location;
            const NAME: &'static CStr = $name;
            const SCOPE: Scope = Scope::Everywhere;
            const ARGS: Args = Args::$args;
            fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
                let said = $parse(&argument(conf)?);
                values::once(&mut target.next_key.$field, said).map_err(Some)
            }
        }
    };
}

directive!(NextKeyTries, c"openai_next_key_tries", One, tries, tries);
directive!(
    NextKeyTimeout,
    c"openai_next_key_timeout",
    One,
    timeout_ms,
    values::time_ms
);
directive!(
    AttemptsHeader,
    c"openai_attempts_header",
    Flag,
    header,
    values::flag
);
