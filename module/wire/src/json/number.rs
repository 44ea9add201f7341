//! The grammar of numbers.

/// Position within a number, named after the last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Start,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    /// The state after one more byte; `None` when it does not belong to the number. If not
    /// `strict`, any sequence of the characters of numbers is a number.
    pub(super) const fn step(self, byte: u8, strict: bool) -> Option<Self> {
        if !strict {
            return match byte {
                b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-' => Some(self),
                _ => None,
            };
        }
        match (byte, self) {
            (b'0'..=b'9', Self::Integer | Self::Fraction | Self::ExponentDigits) => Some(self),
            (b'0', Self::Start | Self::Minus) => Some(Self::Zero),
            (b'1'..=b'9', Self::Start | Self::Minus) => Some(Self::Integer),
            (b'0'..=b'9', Self::Point) => Some(Self::Fraction),
            (b'0'..=b'9', Self::Exponent | Self::ExponentSign) => Some(Self::ExponentDigits),
            (b'-', Self::Start) => Some(Self::Minus),
            (b'.', Self::Zero | Self::Integer) => Some(Self::Point),
            (b'e' | b'E', Self::Zero | Self::Integer | Self::Fraction) => Some(Self::Exponent),
            (b'+' | b'-', Self::Exponent) => Some(Self::ExponentSign),
            _ => None,
        }
    }

    /// Whether the number may continue with any number of digits.
    pub(super) const fn takes_digits(self) -> bool {
        matches!(self, Self::Integer | Self::Fraction | Self::ExponentDigits)
    }

    /// Whether a number may end here.
    pub(super) const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits
        )
    }
}
