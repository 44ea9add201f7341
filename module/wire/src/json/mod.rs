//! An incremental JSON tokenizer.
//!
//! [`Tokenizer`] takes a document in pieces cut at any byte and calls a [`Reader`] for the
//! keys and values in it. It builds no tree and does not allocate. The text of a string is
//! stored only if the reader wants it, up to `KEPT` bytes; other strings cost no more than a
//! search for their end.
//!
//! A strict reader accepts the grammar of RFC 8259. The document must be an object if the
//! tokenizer was made by [`Tokenizer::new`]; by [`Tokenizer::at_value`], any value. There
//! are three exceptions to the grammar:
//!
//! - raw control characters inside strings are accepted;
//! - strings need not be valid UTF-8;
//! - `\u` escapes may contain unpaired surrogates.
//!
//! For other readers, bytes that the grammar does not allow are skipped; commas, colons and
//! brackets have the same meaning everywhere. Such a reader may also begin in the middle of a
//! document, before a value. Brackets that were open before count as objects.

mod capture;
mod nesting;
mod number;
mod string;
#[cfg(test)]
mod tests;
mod tokenizer;

pub use nesting::MAX_DEPTH;
pub(crate) use tokenizer::Tokenizer;

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonKind {
    String,
    Bool(bool),
    Null,
    Number,
    Object,
    Array,
}

/// A violation of the grammar, with the index in the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonFault {
    Malformed(usize),
    /// The bracket exceeds [`MAX_DEPTH`].
    TooDeep(usize),
}

/// Receives the keys and values of a document.
///
/// `depth` is the number of objects and arrays around a key or a value; `at` and `end` are
/// indexes in the piece.
pub(crate) trait Reader {
    /// Whether the grammar is enforced.
    const STRICT: bool = false;

    /// A key begins. Returns whether its text is wanted.
    fn wants_key(&mut self, depth: usize) -> bool;

    /// A wanted key has ended. `None`: it is longer than `KEPT`.
    fn key(&mut self, key: Option<&[u8]>, depth: usize);

    /// A value begins. Returns whether it is wanted, if it is a string or a number.
    fn value(&mut self, kind: JsonKind, depth: usize, at: usize) -> bool;

    /// A wanted string has ended before `end`. `None`: it is longer than `KEPT`.
    fn string(&mut self, _text: Option<&[u8]>, _end: usize) {}

    /// A wanted number has ended. `None`: it has other characters than digits. A number of
    /// more than 64 bits is `u64::MAX`.
    fn number(&mut self, _value: Option<u64>) {}

    /// A comma or a closing bracket ends a member or an item.
    fn end_member(&mut self, _depth: usize, _at: usize) {}

    /// An object or array closes, which was a value at `depth`.
    fn close(&mut self, _depth: usize) {}

    /// A strict reader receives the first violation of the grammar, and nothing afterwards.
    /// Other readers receive invalid escapes, and a document that is not an object, after
    /// which nothing follows.
    fn fault(&mut self, _fault: JsonFault) {}
}
