//! Quotas of clients.

use std::fmt;

use super::ClientError;
use crate::digits;
use crate::keys::{OptionError, each_option, is_name};
use crate::metrics::QuotaUsage;
use crate::prices::UNITS_PER_DOLLAR;

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Requests that got a key.
    Requests,
    /// Tokens of prompts and completions.
    Tokens,
    /// Cost of the tokens.
    Cost,
}

/// Period of a quota, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

/// A limit of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimit {
    /// What is limited.
    pub measure: Measure,
    /// The period.
    pub period: Period,
    /// Maximum amount in the period; costs are in units of [`crate::prices`].
    pub most: u64,
}

/// The options of a quota, as shown in messages.
const OPTIONS: &str = "requests=, tokens=, cost=";

/// Number of combinations of measure and period.
pub(crate) const LIMITS: usize = 6;

impl QuotaLimit {
    /// Name of the measure.
    #[must_use]
    pub const fn measure(&self) -> &'static str {
        match self.measure {
            Measure::Requests => "requests",
            Measure::Tokens => "tokens",
            Measure::Cost => "cost",
        }
    }

    /// Name of the period.
    #[must_use]
    pub const fn period(&self) -> &'static str {
        match self.period {
            Period::Day => "day",
            Period::Month => "month",
        }
    }

    /// Converts an amount for output: costs to dollars, other amounts unchanged.
    #[must_use]
    pub fn shown(&self, amount: u64) -> f64 {
        match self.measure {
            Measure::Cost => amount as f64 / UNITS_PER_DOLLAR as f64,
            _ => amount as f64,
        }
    }

    /// Index of the combination of measure and period.
    pub(crate) const fn kind(&self) -> usize {
        self.measure as usize * 2 + self.period as usize
    }

    /// The amount used, from the usage of the day and of the month.
    #[must_use]
    pub const fn used(&self, (today, month): &(QuotaUsage, QuotaUsage)) -> u64 {
        let of = match self.period {
            Period::Day => today,
            Period::Month => month,
        };
        match self.measure {
            Measure::Requests => of.requests,
            Measure::Tokens => of.tokens,
            Measure::Cost => of.cost,
        }
    }

    fn parse(name: &str, value: &str) -> Option<Result<Self, OptionError>> {
        let (measure, name, wanted) = match name {
            "requests" => (
                Measure::Requests,
                "requests",
                "a number per day or month, as 1000/day",
            ),
            "tokens" => (
                Measure::Tokens,
                "tokens",
                "a number per day or month, as 1000000/month",
            ),
            "cost" => (
                Measure::Cost,
                "cost",
                "dollars per day or month, as 2.50/day",
            ),
            _ => return None,
        };
        let parsed = value.split_once('/').and_then(|(most, period)| {
            let period = match period {
                "day" => Period::Day,
                "month" => Period::Month,
                _ => return None,
            };
            let most = match measure {
                Measure::Cost => dollars(most)?,
                _ => digits(most)?,
            };
            Some(Self {
                measure,
                period,
                most,
            })
        });
        Some(parsed.ok_or_else(|| OptionError::invalid(name, value, wanted)))
    }
}

/// Converts dollars to units of [`crate::prices`] without rounding. `None` with more than 12
/// decimals.
fn dollars(text: &str) -> Option<u64> {
    let (dollars, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let unit = UNITS_PER_DOLLAR / 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    if unit == 0 {
        return None;
    }
    let units = digits::<u64>(dollars)?.checked_mul(UNITS_PER_DOLLAR)?;
    units.checked_add(digits::<u64>(fraction)?.checked_mul(unit)?)
}

/// The limits of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota(Vec<QuotaLimit>);

impl Quota {
    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &[QuotaLimit] {
        &self.0
    }

    fn parse(words: &[&str]) -> Result<Self, OptionError> {
        let mut limits: Vec<QuotaLimit> = vec![];
        each_option(2, words, OPTIONS, |name, value| {
            let Some(limit) = value.and_then(|value| QuotaLimit::parse(name, value)) else {
                return Ok(false);
            };
            let limit = limit?;
            if limits.iter().any(|other| other.kind() == limit.kind()) {
                return Err(OptionError::Repeated(limit.measure()));
            }
            limits.push(limit);
            Ok(true)
        })?;
        Ok(Self(limits))
    }
}

/// The clients to which a quota applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// One client. Its quota replaces the one for all clients.
    Of(String),
    /// All clients without their own quota.
    All,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(name) => f.write_str(name),
            Self::All => f.write_str("*"),
        }
    }
}

/// A `quota` line of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaDirective {
    /// The clients.
    pub whose: Whose,
    /// The quota; without limits for `off`.
    pub quota: Quota,
}

impl QuotaDirective {
    /// Parses the parameters: the client's name or `*`, then limits, or `off`.
    ///
    /// # Errors
    /// When one of them is missing, unknown, repeated or out of range.
    pub fn parse(parameters: &[&str]) -> Result<Self, ClientError> {
        let [name, limits @ ..] = parameters else {
            return Err(ClientError::NoQuota);
        };
        let whose = match *name {
            "*" => Whose::All,
            name if is_name(name) => Whose::Of(name.to_owned()),
            name => {
                return Err(ClientError::Name(name.to_owned()));
            }
        };
        let quota = match limits {
            [] => return Err(ClientError::NoQuota),
            ["off"] => Quota::default(),
            limits => Quota::parse(limits)?,
        };
        Ok(Self { whose, quota })
    }
}
