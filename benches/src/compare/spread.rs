//! Medians of repeated measurements.

use serde::Serialize;

/// Median, minimum and maximum of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Without values, all three are NaN.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        Self {
            median: f64::midpoint(at(low), at(high)),
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
        }
    }

    /// The spread of `b / a`, pair by pair.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Self {
        Self::of(a.iter().zip(b).map(|(a, b)| b / a))
    }

    /// The spread of `b - a`, pair by pair.
    pub fn of_differences(a: &[f64], b: &[f64]) -> Self {
        Self::of(a.iter().zip(b).map(|(a, b)| b - a))
    }
}

/// The quantile `share` (0 to 1) of sorted values; NaN without values.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_and_of_an_even_number() {
        let odd = Spread::of([3.0, 1.0, 8.0]);
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 8.0));
        assert_eq!(Spread::of([4.0, 1.0, 8.0, 2.0]).median, 3.0);
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.5), 500.0);
        assert_eq!(quantile(&sorted, 0.99), 990.0);
        assert_eq!(quantile(&sorted, 1.0), 1000.0);
        assert_eq!(quantile(&[7.0], 0.01), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn pairs_stay_together() {
        let (a, b) = ([10.0, 100.0, 1000.0], [9.0, 80.0, 1000.0]);
        assert_eq!(Spread::of_ratios(&a, &b).median, 0.9);
        assert_eq!(Spread::of_differences(&a, &b).median, -1.0);
    }
}
