//! Settings by name: what flags, headers, scenario files and admin calls all come down to.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// A setting that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    name: String,
    problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Unknown { known: Vec<&'static str> },
    Malformed { expected: &'static str },
}

impl SettingError {
    pub(crate) fn unknown(name: &str, known: impl IntoIterator<Item = &'static str>) -> Self {
        let known = known.into_iter().collect();
        Self {
            name: name.to_owned(),
            problem: Problem::Unknown { known },
        }
    }

    pub(crate) fn malformed(name: &str, expected: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            problem: Problem::Malformed { expected },
        }
    }

    /// The setting's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.problem, Problem::Unknown { .. })
    }

    /// The same about a setting whose name is longer where it was asked for.
    pub(crate) fn prefixed(self, prefix: &str) -> Self {
        let name = format!("{prefix}{}", self.name);
        Self { name, ..self }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Malformed { expected } => write!(f, "{} must be {expected}", self.name),
            Problem::Unknown { known } => {
                let known = known.join(", ");
                write!(f, "there is no setting {}; there are {known}", self.name)
            }
        }
    }
}

impl std::error::Error for SettingError {}

/// What has settings.
pub(crate) trait Settings {
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError>;
}

/// Takes a value out of a document and sets it; so an error has the place of the value.
pub(crate) struct Set<'a, S: ?Sized> {
    pub(crate) target: &'a mut S,
    pub(crate) name: &'a str,
}

impl<S: Settings + ?Sized> Set<'_, S> {
    fn set<E: Error>(self, value: &str) -> Result<(), E> {
        self.target.set(self.name, value).map_err(E::custom)
    }
}

impl<'de, S: Settings + ?Sized> DeserializeSeed<'de> for Set<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Settings + ?Sized> Visitor<'de> for Set<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, or a list of texts")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.set(value)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut texts: Vec<String> = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        self.set(&texts.join(","))
    }
}

/// Reads anything that can be read from text.
pub(crate) fn parsed<T: FromStr>(value: &str) -> Option<T> {
    value.trim().parse().ok()
}

/// Reads `true` or `false`, and for flags and headers also `1`, `0`, `on`, `off`.
pub(crate) fn switch(value: &str) -> Option<bool> {
    match value.trim() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads `NAME=VALUE NAME=VALUE …`, as flags have it. A value with white space is quoted by `'`
/// or `"`.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, SettingError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest
            .split_once('=')
            .ok_or_else(|| SettingError::malformed(rest, "written as NAME=VALUE"))?;
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let (value, after) = match quote {
            Some(quote) => value[1..].split_once(quote).ok_or_else(|| {
                SettingError::malformed(name, "closed by the quote it opens with")
            })?,
            None => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        pairs.push((name.trim().to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        pairs(text).expect("pairs")
    }

    #[test]
    fn pairs_are_separated_by_white_space_and_may_be_quoted() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(read("  "), []);
        assert_eq!(
            read(" status=500  times=2"),
            [pair("status", "500"), pair("times", "2")]
        );
        assert_eq!(
            read("text='a = b' words=\"3\""),
            [pair("text", "a = b"), pair("words", "3")]
        );
        assert_eq!(read("text="), [pair("text", "")]);
    }

    #[test]
    fn what_is_no_pair_is_said() {
        assert!(pairs("status").is_err());
        assert!(pairs("text='a").is_err());
    }
}
