//! Numbers that limit the length of the response.

/// A number field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// `max_tokens`, or its newer names.
    MaxTokens,
    /// `n`.
    Choices,
}

/// A number while its digits are received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting {
    pub(super) of: Count,
    /// `None` when it is not a whole number of 32 bits.
    value: Option<u32>,
}

impl Counting {
    pub(super) fn begin(of: Count, first: u8) -> Self {
        let value = Some(0);
        let mut begun = Self { of, value };
        begun.take(&[first]);
        begun
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
            self.value = self
                .value
                .zip(digit)
                .and_then(|(value, digit)| value.checked_mul(10)?.checked_add(digit));
        }
    }

    pub(super) fn value(self) -> Option<u32> {
        self.value
    }
}
