//! Buffer for the decoded text of a string.

use arrayvec::ArrayVec;

use super::string::Sink;

/// A buffer of `N` bytes for one string at a time.
#[derive(Debug)]
pub(super) struct Capture<const N: usize> {
    bytes: ArrayVec<u8, N>,
    overflow: bool,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

impl<const N: usize> Capture<N> {
    pub(super) const fn new() -> Self {
        Self {
            bytes: ArrayVec::new_const(),
            overflow: false,
            high: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.overflow = false;
        self.high = None;
    }

    /// Ends the string and returns its bytes; `None` when it was too long.
    pub(super) fn end(&mut self) -> Option<&[u8]> {
        self.drop_high();
        (!self.overflow).then_some(&self.bytes)
    }

    fn push(&mut self, part: &[u8]) {
        self.overflow = self.overflow || self.bytes.try_extend_from_slice(part).is_err();
    }

    fn push_char(&mut self, char: char) {
        self.push(char.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Replaces a surrogate without its second half.
    fn drop_high(&mut self) {
        if self.high.take().is_some() {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
    }
}

impl<const N: usize> Sink for Capture<N> {
    fn raw(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.drop_high();
            self.push(bytes);
        }
    }

    fn unit(&mut self, unit: u16) {
        if let (Some(high), 0xDC00..=0xDFFF) = (self.high, unit) {
            self.high = None;
            let pair = char::decode_utf16([high, unit]).next();
            self.push_char(
                pair.and_then(Result::ok)
                    .unwrap_or(char::REPLACEMENT_CHARACTER),
            );
            return;
        }
        self.drop_high();
        match unit {
            0xD800..=0xDBFF => self.high = Some(unit),
            _ => {
                let char = char::from_u32(unit.into());
                self.push_char(char.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }
}
