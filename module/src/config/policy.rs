//! `limit`, `cool_down` and `ramp` of a pool: limits and cool-downs of its keys.

use nginx_safe::ConfResult;
use openai_core::lease::KeyPolicy;

use super::lines::{self, Line};
use super::values::{self, DAY};

/// Lines of a pool about the limits and cool-downs of its keys.
#[derive(Default)]
pub struct Said {
    limit: Option<(u32, u32)>,
    cool_down: Option<CoolDown>,
    ramp: Option<bool>,
}

/// Arguments of `cool_down`, in milliseconds.
#[derive(Default)]
struct CoolDown {
    rate_limited: Option<u64>,
    quota_exceeded: Option<u64>,
    invalid_key: Option<u64>,
    max: Option<u64>,
}

impl Said {
    /// Reads one of these lines.
    pub fn read(&mut self, line: &Line<'_>) -> ConfResult {
        match line.name {
            "limit" => line.many(&mut self.limit, limit),
            "cool_down" => line.many(&mut self.cool_down, cool_down),
            _ => line.one(&mut self.ramp, values::flag),
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
    let a_minute = values::number(1..=1_000_000_000);
    parameters(words, &["rpm", "tpm"], |line| match line.name {
        "rpm" => line.one(&mut rpm, &a_minute),
        _ => line.one(&mut tpm, &a_minute),
    })?;
    Ok((rpm.unwrap_or_default(), tpm.unwrap_or_default()))
}

fn cool_down(words: &[&str]) -> ConfResult<CoolDown> {
    let mut times = CoolDown::default();
    let names = ["rate_limited", "quota_exceeded", "invalid_key", "max"];
    parameters(words, &names, |line| {
        let time = match line.name {
            "rate_limited" => &mut times.rate_limited,
            "quota_exceeded" => &mut times.quota_exceeded,
            "invalid_key" => &mut times.invalid_key,
            _ => &mut times.max,
        };
        line.one(time, values::time(1..=DAY))
    })?;
    let default = KeyPolicy::default().rate_limited_ms;
    let rate_limited = times.rate_limited.unwrap_or(default);
    if let Some(max) = times.max.filter(|max| *max < rate_limited) {
        let (max, least) = (values::as_time(max), values::as_time(rate_limited));
        return Err(format!(
            "max={max} is shorter than rate_limited={least}, it must be {least} or more"
        ));
    }
    Ok(times)
}

/// Reads one or more parameters.
fn parameters(
    words: &[&str],
    names: &[&str],
    read: impl FnMut(&Line<'_>) -> ConfResult,
) -> ConfResult {
    if words.is_empty() {
        let names = names.join("=, ");
        return Err(format!("takes one or more parameters of {names}="));
    }
    lines::parameters(words, names, read)
}
