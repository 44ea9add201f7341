//! Numbers in configurations.

use std::str::FromStr;

/// A number of digits only. [`str::parse`] would also accept a sign.
#[must_use]
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(digits("10"), Some(10_u8));
        for text in ["", "+5", "-5", "256", "1 ", "0x1", "1_0"] {
            assert_eq!(digits::<u8>(text), None, "{text}");
        }
    }
}
