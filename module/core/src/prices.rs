//! Prices of tokens by model, from a price file.
//!
//! ```json
//! {"date": "2025-07-01", "models": {"gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10}}}
//! ```
//!
//! Prices are in US dollars per million tokens. A millionth of a dollar per million tokens is
//! 10⁻¹² dollars per token. Costs are whole numbers of this unit, so that their sums are exact.

use openai_wire::Tokens;
use std::collections::HashMap;

use serde::Deserialize;
use thiserror::Error;

/// Number of units per dollar.
pub const UNITS_PER_DOLLAR: u64 = 1_000_000_000_000;

/// Highest plausible price, in dollars per million tokens.
const DEAREST: f64 = 1e6;

/// Why a price file is invalid.
#[derive(Debug, Error)]
pub enum PricesError {
    /// The file is not JSON of the documented form.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// A price is negative or implausibly high.
    #[error("model \"{model}\": a price must be 0 to {DEAREST} dollars for a million tokens")]
    Price {
        /// The model.
        model: String,
    },
}

/// Prices by model.
#[derive(Debug, Default)]
pub struct Prices {
    date: String,
    models: HashMap<String, Price>,
}

/// Prices of a model, in units per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Price {
    input: u64,
    cached_input: u64,
    output: u64,
}

#[derive(Deserialize)]
struct File {
    date: String,
    models: HashMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    input: f64,
    cached_input: Option<f64>,
    #[serde(default)]
    output: f64,
}

fn units(dollars: f64) -> Option<u64> {
    // Prices are rounded to six decimals, which also removes the error of the conversion to `f64`.
    (0.0..=DEAREST)
        .contains(&dollars)
        .then(|| (dollars * 1e6).round() as u64)
}

impl Entry {
    fn price(&self) -> Option<Price> {
        Some(Price {
            input: units(self.input)?,
            cached_input: units(self.cached_input.unwrap_or(self.input))?,
            output: units(self.output)?,
        })
    }
}

impl Prices {
    /// Parses a price file.
    ///
    /// # Errors
    /// When the format is wrong or a price implausible.
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        let file: File = serde_json::from_str(text)?;
        let priced = file
            .models
            .into_iter()
            .map(|(model, entry)| match entry.price() {
                Some(price) => Ok((model, price)),
                None => Err(PricesError::Price { model }),
            });
        Ok(Self {
            date: file.date,
            models: priced.collect::<Result<_, _>>()?,
        })
    }

    /// Date of the prices.
    #[must_use]
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Whether the model has a price.
    #[must_use]
    pub fn knows(&self, model: &str) -> bool {
        self.price(model).is_some()
    }

    /// Cost of the tokens in units; `None` when the model has no price.
    #[must_use]
    pub fn cost(&self, model: &str, tokens: Tokens) -> Option<u64> {
        let price = self.price(model)?;
        let cached = tokens.cached.min(tokens.prompt);
        let of = |count: u64, price: u64| u128::from(count) * u128::from(price);
        let cost = of(tokens.prompt - cached, price.input)
            + of(cached, price.cached_input)
            + of(tokens.completion, price.output);
        Some(u64::try_from(cost).unwrap_or(u64::MAX))
    }

    /// Price of a model. A dated version (`gpt-4o-2024-08-06`) without its own price has the price
    /// of the undated model.
    fn price(&self, model: &str) -> Option<Price> {
        let found = self.models.get(model);
        found.or_else(|| self.models.get(undated(model)?)).copied()
    }
}

fn undated(model: &str) -> Option<&str> {
    const DATE: usize = "-2024-08-06".len();
    let (name, date) = model.split_at_checked(model.len().checked_sub(DATE)?)?;
    let shape = date.bytes().enumerate().all(|(at, byte)| match at {
        0 | 5 | 8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    shape.then_some(name)
}

/// Formats a cost as a number of dollars, without rounding.
#[must_use]
pub fn dollars(units: u64) -> String {
    let text = format!(
        "{}.{:012}",
        units / UNITS_PER_DOLLAR,
        units % UNITS_PER_DOLLAR
    );
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        let text = r#"{"date":"2025-07-01","models":{
            "gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10},
            "gpt-4o-2024-05-13": {"input": 5, "output": 15},
            "text-embedding-3-small": {"input": 0.02}
        }}"#;
        Prices::parse(text).expect("prices")
    }

    fn tokens(prompt: u64, cached: u64, completion: u64) -> Tokens {
        Tokens {
            prompt,
            completion,
            cached,
            reasoning: 0,
        }
    }

    #[test]
    fn costs_are_exact() {
        let cost = |model, tokens| prices().cost(model, tokens).map(dollars);
        assert_eq!(
            cost("gpt-4o", tokens(1, 0, 0)).as_deref(),
            Some("0.0000025")
        );
        assert_eq!(
            cost("gpt-4o", tokens(1_000_000, 400_000, 100_000)).as_deref(),
            Some("3")
        );
        assert_eq!(
            cost("text-embedding-3-small", tokens(3, 0, 0)).as_deref(),
            Some("0.00000006")
        );
        assert_eq!(cost("gpt-4o", tokens(0, 0, 0)).as_deref(), Some("0"));
    }

    #[test]
    fn snapshots_cost_what_their_model_does_unless_they_have_a_price() {
        let one = tokens(1_000_000, 0, 0);
        let cost = |model| prices().cost(model, one).map(dollars);
        assert_eq!(cost("gpt-4o-2024-08-06").as_deref(), Some("2.5"));
        assert_eq!(cost("gpt-4o-2024-05-13").as_deref(), Some("5"));
        assert_eq!(cost("gpt-4o-mini"), None);
        assert_eq!(cost("-2024-08-06"), None);
        assert_eq!(cost("é2024-08-06"), None);
    }

    #[test]
    fn an_unknown_model_has_no_cost() {
        assert_eq!(prices().cost("other", tokens(1, 0, 1)), None);
        assert!(!prices().knows("other"));
    }

    #[test]
    fn the_dearest_cost_does_not_wrap() {
        let huge = tokens(u64::MAX, 0, u64::MAX);
        assert_eq!(prices().cost("gpt-4o", huge), Some(u64::MAX));
    }

    #[test]
    fn the_prices_that_are_shipped_are_prices() {
        let prices = Prices::parse(include_str!("../../../nginx/prices.json")).expect("prices");
        assert!(prices.knows("gpt-4o-mini"));
        assert_eq!(prices.date().len(), "2025-01-01".len());
    }

    #[test]
    fn mistakes_are_reported() {
        for text in [
            "",
            "{}",
            r#"{"date":"x","models":{"m":{"output":1}}}"#,
            r#"{"date":"x","models":{"m":{"input":-1}}}"#,
            r#"{"date":"x","models":{"m":{"input":1e9}}}"#,
            r#"{"date":"x","models":{"m":{"input":1,"outputs":1}}}"#,
        ] {
            assert!(Prices::parse(text).is_err(), "{text}");
        }
    }
}
