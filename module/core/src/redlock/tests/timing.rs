//! Checks of a group's times against the TTLs of its locks.

use crate::redlock::{TimesError, check_times};

const TTLS: [u64; 3] = [30_000, 10_001, 60_000];

fn check(renewal_ms: Option<u64>, quarantine_ms: Option<u64>) -> Result<Option<u64>, TimesError> {
    check_times(renewal_ms, quarantine_ms, TTLS.into_iter())
}

#[test]
fn the_quarantine_is_the_longest_ttl_by_default() {
    assert_eq!(check(None, None), Ok(Some(60_000)));
    assert_eq!(check(None, Some(60_000)), Ok(Some(60_000)));
    assert_eq!(check(None, Some(90_000)), Ok(Some(90_000)));
}

#[test]
fn a_quarantine_is_not_shorter_than_any_ttl() {
    let refused = TimesError::QuarantineTooShort {
        ms: 59_999,
        least_ms: 60_000,
    };
    assert_eq!(check(None, Some(59_999)), Err(refused));
}

#[test]
fn locks_are_renewed_in_half_of_the_shortest_ttl() {
    assert_eq!(check(Some(5_000), None), Ok(Some(60_000)));
    let refused = TimesError::RenewalTooLong {
        ms: 5_001,
        most_ms: 5_000,
    };
    assert_eq!(check(Some(5_001), Some(1)), Err(refused));
}

#[test]
fn a_group_without_pools_is_not_checked() {
    let none = || std::iter::empty();
    assert_eq!(check_times(Some(u64::MAX), None, none()), Ok(None));
    assert_eq!(check_times(None, Some(1), none()), Ok(Some(1)));
}
