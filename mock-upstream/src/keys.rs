//! How the mock treats each API key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{ApiError, ErrorName};
use crate::limits::{Bucket, Level, go_duration};
use crate::settings::{SettingError, Settings, parsed};
use crate::stats::KeyName;

/// What a key may do. Nothing set, anything.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct KeyRule {
    pub(crate) rpm: Option<u64>,
    pub(crate) tpm: Option<u64>,
    pub(crate) quota: Option<u64>,
    pub(crate) slow: Option<f64>,
    pub(crate) state: Option<KeyState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyState {
    Good,
    Revoked,
    OutOfQuota,
}

impl KeyRule {
    /// Name and meaning of every setting.
    pub(crate) const SETTINGS: &[(&str, &str)] = &[
        ("rpm", "requests per minute"),
        ("tpm", "tokens per minute, of prompts and answers"),
        (
            "quota",
            "total number of tokens; when it is used up, 429 insufficient_quota",
        ),
        ("slow", "factor for all times"),
        ("state", "good, revoked (401) or out_of_quota (429)"),
    ];

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These settings, and for those not set the other's.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            rpm: self.rpm.or(other.rpm),
            tpm: self.tpm.or(other.tpm),
            quota: self.quota.or(other.quota),
            slow: self.slow.or(other.slow),
            state: self.state.or(other.state),
        }
    }
}

impl Settings for KeyRule {
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let wrong = |expected| SettingError::malformed(name, expected);
        let per_minute = || {
            let limit = parsed(value).filter(|limit| *limit > 0);
            limit
                .ok_or_else(|| wrong("a number a minute, from 1"))
                .map(Some)
        };
        match name {
            "rpm" => self.rpm = per_minute()?,
            "tpm" => self.tpm = per_minute()?,
            "quota" => self.quota = Some(parsed(value).ok_or_else(|| wrong("a number of tokens"))?),
            "slow" => {
                let factor = parsed(value).filter(|f: &f64| f.is_finite() && *f >= 0.0);
                self.slow = Some(factor.ok_or_else(|| wrong("a factor such as 4 or 0.5"))?);
            }
            "state" => {
                self.state = Some(match value.trim() {
                    "good" => KeyState::Good,
                    "revoked" => KeyState::Revoked,
                    "out_of_quota" => KeyState::OutOfQuota,
                    _ => return Err(wrong("good, revoked or out_of_quota")),
                });
            }
            _ => {
                let names = Self::SETTINGS.iter().map(|(name, _)| *name);
                return Err(SettingError::unknown(name, names));
            }
        }
        Ok(())
    }
}

/// The rate headers of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<Level>,
    pub(crate) tokens: Option<Level>,
}

/// What the keys have used up.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<HashMap<KeyName, Used>>);

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    requests: Bucket,
    tokens: Bucket,
    spent: u64,
}

/// A refusal, with the rate headers that go with it.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) error: ApiError,
    pub(crate) rates: Rates,
}

impl Keys {
    /// Admits a request of so many tokens, or says why not. A request that is refused uses up
    /// nothing.
    pub(crate) fn admit(
        &self,
        name: KeyName,
        rule: KeyRule,
        now: Duration,
        tokens: u64,
        model: &str,
    ) -> Result<Rates, Box<Denied>> {
        let mut all = self.lock();
        let used = all.entry(name).or_default();
        let error = match rule.state {
            Some(KeyState::Revoked) => Some(ApiError::named(ErrorName::InvalidApiKey)),
            Some(KeyState::OutOfQuota) => Some(ApiError::named(ErrorName::InsufficientQuota)),
            _ if rule.quota.is_some_and(|quota| used.spent >= quota) => {
                Some(ApiError::named(ErrorName::InsufficientQuota))
            }
            _ => used.refusal(rule, now, tokens, model),
        };
        if error.is_none() {
            used.requests.take(1);
            used.tokens.take(tokens);
            used.spent = used.spent.saturating_add(tokens);
        }
        let rates = used.rates(rule, now);
        match error {
            Some(error) => Err(Box::new(Denied { error, rates })),
            None => Ok(rates),
        }
    }

    /// All keys have used up nothing.
    pub(crate) fn reset(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyName, Used>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn refusal(
        &mut self,
        rule: KeyRule,
        now: Duration,
        tokens: u64,
        model: &str,
    ) -> Option<ApiError> {
        let both = [
            (&mut self.requests, rule.rpm, 1, "requests", "RPM"),
            (&mut self.tokens, rule.tpm, tokens, "tokens", "TPM"),
        ];
        for (bucket, limit, amount, kind, short) in both {
            let Some(limit) = limit else { continue };
            let Some(wait) = bucket.wait(now, limit, amount) else {
                let message = format!(
                    "Request too large for {model} in organization {ORGANIZATION} on {kind} per min \
                     ({short}): Limit {limit}, Requested {amount}. The input or output tokens must \
                     be reduced in order to run successfully. Visit \
                     https://platform.openai.com/account/rate-limits to learn more."
                );
                // Waiting would not help.
                let mut error = ApiError::rate_limit(kind, message, Duration::ZERO);
                error.retry_after = None;
                return Some(error);
            };
            if wait > Duration::ZERO {
                let level = bucket.level(now, limit);
                let used = limit - level.remaining;
                let message = format!(
                    "Rate limit reached for {model} in organization {ORGANIZATION} on {kind} per min \
                     ({short}): Limit {limit}, Used {used}, Requested {amount}. Please try again in \
                     {}. Visit https://platform.openai.com/account/rate-limits to learn more.",
                    go_duration(wait)
                );
                return Some(ApiError::rate_limit(kind, message, wait));
            }
        }
        None
    }

    fn rates(&mut self, rule: KeyRule, now: Duration) -> Rates {
        Rates {
            requests: rule.rpm.map(|limit| self.requests.level(now, limit)),
            tokens: rule.tpm.map(|limit| self.tokens.level(now, limit)),
        }
    }
}

/// The organization that every key belongs to.
pub(crate) const ORGANIZATION: &str = "org-mock";

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(settings: &[(&str, &str)]) -> KeyRule {
        let mut rule = KeyRule::default();
        for (name, value) in settings {
            rule.set(name, value).expect(name);
        }
        rule
    }

    fn admitted(rule: KeyRule, tokens: u64, times: impl Iterator<Item = Duration>) -> usize {
        let keys = Keys::default();
        times
            .filter(|now| {
                keys.admit(KeyName::of(None), rule, *now, tokens, "m")
                    .is_ok()
            })
            .count()
    }

    #[test]
    fn both_limits_hold_and_a_refusal_uses_up_nothing() {
        let both = rule(&[("rpm", "100"), ("tpm", "1000")]);
        let at_once = || (0..10_000).map(|_| Duration::ZERO);
        assert_eq!(admitted(both, 5, at_once()), 100);
        assert_eq!(admitted(both, 40, at_once()), 25);
        let a_minute = || (0..=10_000).map(|i| Duration::from_millis(i * 6));
        assert_eq!(admitted(both, 5, a_minute()), 200);
        assert_eq!(admitted(both, 40, a_minute()), 50);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let keys = Keys::default();
        let limited = rule(&[("rpm", "1")]);
        let rates = keys
            .admit(KeyName::of(None), limited, Duration::ZERO, 9, "m")
            .expect("room");
        let level = rates.requests.expect("a limit");
        assert_eq!((level.remaining, level.reset), (0, Duration::from_secs(60)));
        assert_eq!(rates.tokens, None);
        let denied = keys.admit(KeyName::of(None), limited, Duration::from_secs(20), 9, "m");
        let error = denied.expect_err("no room").error;
        assert_eq!(error.retry_after, Some(Duration::from_secs(40)));
        let text = String::from_utf8(error.to_json()).expect("UTF-8");
        insta::assert_snapshot!(text, @r#"{"error":{"message":"Rate limit reached for m in organization org-mock on requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in 40s. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#);
    }

    #[test]
    fn what_is_more_than_the_limit_need_not_come_back() {
        let denied = Keys::default().admit(
            KeyName::of(None),
            rule(&[("tpm", "10")]),
            Duration::ZERO,
            11,
            "m",
        );
        let error = denied.expect_err("too large").error;
        assert_eq!(error.retry_after, None);
        assert!(String::from_utf8_lossy(&error.to_json()).contains("Request too large"));
    }

    #[test]
    fn a_quota_is_spent_for_good() {
        let quota = rule(&[("quota", "10")]);
        let times = (0..5).map(|i| Duration::from_secs(3600 * i));
        assert_eq!(admitted(quota, 5, times.clone()), 2);
        assert_eq!(admitted(rule(&[("state", "revoked")]), 1, times.clone()), 0);
        assert_eq!(admitted(rule(&[("state", "out_of_quota")]), 1, times), 0);
    }

    #[test]
    fn a_key_of_its_own_falls_back_to_what_holds_for_all() {
        let own = rule(&[("rpm", "5"), ("state", "good")]);
        let all = rule(&[("rpm", "1"), ("tpm", "7"), ("state", "revoked")]);
        let merged = own.or(all);
        assert_eq!((merged.rpm, merged.tpm), (Some(5), Some(7)));
        assert_eq!(merged.state, Some(KeyState::Good));
    }

    #[test]
    fn refuses_what_cannot_be() {
        for (name, value) in [
            ("rpm", "0"),
            ("tpm", "-1"),
            ("quota", "x"),
            ("slow", "-1"),
            ("state", "bad"),
            ("rps", "1"),
        ] {
            assert!(KeyRule::default().set(name, value).is_err(), "{name}");
        }
    }
}
