//! `limit`, `cool_down` and `ramp` of a pool: limits and cool-downs of its keys.

use nginx_safe::ConfResult;
use openai_core::lease::KeyPolicy;

use super::lines::{self, Statement};
use super::values::{self, DAY};

/// Reads one of these directives.
pub fn read(line: &mut Statement<'_>, policy: &mut KeyPolicy) {
    line.once("limit", |words| limit(words, policy));
    line.once("cool_down", |words| cool_down(words, policy));
    line.one("ramp", &mut policy.ramp, values::flag);
}

fn limit(words: &[&str], policy: &mut KeyPolicy) -> ConfResult {
    let a_minute = values::number(1..=1_000_000_000);
    lines::some_parameters(words, |option| {
        option.one("rpm", &mut policy.rpm, &a_minute);
        option.one("tpm", &mut policy.tpm, &a_minute);
    })
}

fn cool_down(words: &[&str], policy: &mut KeyPolicy) -> ConfResult {
    let time = values::time(1..=DAY);
    let mut max = None;
    lines::some_parameters(words, |option| {
        option.one("rate_limited", &mut policy.rate_limited_ms, &time);
        option.one("quota_exceeded", &mut policy.quota_exceeded_ms, &time);
        option.one("invalid_key", &mut policy.invalid_key_ms, &time);
        option.one("max", &mut max, &time);
    })?;
    let least = policy.rate_limited_ms;
    policy.rate_limited_max_ms = max.unwrap_or(policy.rate_limited_max_ms.max(least));
    if policy.rate_limited_max_ms < least {
        let (max, least) = (
            values::as_time(policy.rate_limited_max_ms),
            values::as_time(least),
        );
        return Err(format!(
            "max={max} is shorter than rate_limited={least}, it must be {least} or more"
        ));
    }
    Ok(())
}
