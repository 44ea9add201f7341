//! `limit`, `cool_down` and `ramp` of a pool: how its keys' health is kept.

use nginx_safe::ConfResult;
use openai_core::lease::KeyPolicy;

use super::values;

/// The longest cool-down.
const DAY_MS: u64 = 86_400_000;

/// What the lines of a pool say of its keys' health.
#[derive(Default)]
pub struct Said {
    limit: Option<(u32, u32)>,
    cool_down: Option<CoolDown>,
    ramp: Option<bool>,
}

/// Times of a `cool_down`, in milliseconds.
#[derive(Default)]
struct CoolDown {
    rate_limited: Option<u64>,
    quota_exceeded: Option<u64>,
    invalid_key: Option<u64>,
    max: Option<u64>,
}

impl Said {
    /// Reads a line, if it is one of these.
    pub fn read(&mut self, name: &str, words: &[&str]) -> Option<ConfResult> {
        match name {
            "limit" => Some(values::once(&mut self.limit, limit(words))),
            "cool_down" => Some(values::once(&mut self.cool_down, cool_down(words))),
            "ramp" => Some(values::once(&mut self.ramp, ramp(words))),
            _ => None,
        }
    }

    pub fn into_policy(self) -> KeyPolicy {
        let default = KeyPolicy::default();
        let (rpm, tpm) = self.limit.unwrap_or_default();
        let times = self.cool_down.unwrap_or_default();
        let rate_limited_ms = times.rate_limited.unwrap_or(default.rate_limited_ms);
        KeyPolicy {
            rpm,
            tpm,
            rate_limited_ms,
            rate_limited_max_ms: times
                .max
                .unwrap_or(default.rate_limited_max_ms.max(rate_limited_ms)),
            quota_exceeded_ms: times.quota_exceeded.unwrap_or(default.quota_exceeded_ms),
            invalid_key_ms: times.invalid_key.unwrap_or(default.invalid_key_ms),
            ramp: self.ramp.unwrap_or(default.ramp),
        }
    }
}

fn limit(words: &[&str]) -> ConfResult<(u32, u32)> {
    let (mut rpm, mut tpm) = (None, None);
    for (name, value) in parameters(words)? {
        match name {
            "rpm" => values::once(&mut rpm, a_minute(value)),
            "tpm" => values::once(&mut tpm, a_minute(value)),
            _ => return Err(format!("invalid parameter \"{name}={value}\"")),
        }
        .map_err(|e| format!("{name}: {e}"))?;
    }
    Ok((rpm.unwrap_or_default(), tpm.unwrap_or_default()))
}

fn cool_down(words: &[&str]) -> ConfResult<CoolDown> {
    let mut times = CoolDown::default();
    for (name, value) in parameters(words)? {
        let time = match name {
            "rate_limited" => &mut times.rate_limited,
            "quota_exceeded" => &mut times.quota_exceeded,
            "invalid_key" => &mut times.invalid_key,
            "max" => &mut times.max,
            _ => return Err(format!("invalid parameter \"{name}={value}\"")),
        };
        values::once(time, up_to_a_day(value)).map_err(|e| format!("{name}: {e}"))?;
    }
    let rate = times
        .rate_limited
        .unwrap_or(KeyPolicy::default().rate_limited_ms);
    if times.max.is_some_and(|max| max < rate) {
        return Err("max is shorter than rate_limited".into());
    }
    Ok(times)
}

fn ramp(words: &[&str]) -> ConfResult<bool> {
    match words {
        [value] => values::flag(value),
        _ => Err("takes one argument".into()),
    }
}

fn parameters<'a>(words: &'a [&'a str]) -> ConfResult<Vec<(&'a str, &'a str)>> {
    if words.is_empty() {
        return Err("takes one or more parameters".into());
    }
    let split = |word: &&'a str| {
        word.split_once('=')
            .ok_or_else(|| format!("invalid parameter \"{word}\""))
    };
    words.iter().map(split).collect()
}

fn a_minute(value: &str) -> ConfResult<u32> {
    let number = value
        .parse()
        .ok()
        .filter(|n| (1..=1_000_000_000).contains(n));
    number.ok_or_else(|| format!("invalid value \"{value}\", it must be from 1 to 1000000000"))
}

fn up_to_a_day(value: &str) -> ConfResult<u64> {
    match values::time_ms(value)? {
        ms @ 1..=DAY_MS => Ok(ms),
        _ => Err(format!(
            "\"{value}\" is out of range, it must be from 1ms to 1d"
        )),
    }
}
