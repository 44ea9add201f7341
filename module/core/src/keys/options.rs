//! A `key` line of the configuration.

use std::num::NonZeroU16;

use super::{KeyError, NAMES, OptionError, SecretSource, is_name};
use crate::digits;

/// A parsed `key` directive.
#[derive(Debug, Clone)]
pub struct KeyDirective {
    /// The source of its keys.
    pub source: SecretSource,
    /// Options of all of its keys.
    pub options: KeyOptions,
    /// Whether the source may have no keys.
    pub optional: bool,
    /// The options as written.
    pub(super) text: String,
}

/// Options of a key, in a directive or in a line of a key file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyOptions {
    /// The option `id=`. In a directive with several keys it is the prefix of their ids.
    pub id: Option<String>,
    /// The option `slots=`: number of concurrent leases.
    pub slots: Option<NonZeroU16>,
    /// The option `weight=`.
    pub weight: Option<NonZeroU16>,
}

const OPTIONAL: &str = "optional";

/// The options on a line of a key file, and those of a directive, as shown in messages.
const OF_LINE: &str = "id=, slots=, weight=";
const OF_DIRECTIVE: &str = "id=, slots=, weight=, optional";

impl KeyDirective {
    /// Parses the parameters: the source, then the options in any order.
    ///
    /// # Errors
    /// When there is no source, or an option is unknown, repeated or out of range.
    pub fn parse(parameters: &[&str]) -> Result<Self, KeyError> {
        let [source, options @ ..] = parameters else {
            return Err(KeyError::NoSource);
        };
        if is_option(source) || *source == OPTIONAL {
            return Err(KeyError::NoSource);
        }
        let source = SecretSource::parse(source)?;
        let (words, text) = (options, options.join(" "));
        let (mut options, mut optional) = (KeyOptions::default(), None);
        each_option(2, words, OF_DIRECTIVE, |name, value| match (name, value) {
            (OPTIONAL, None) => once(&mut optional, OPTIONAL, ()).map(|()| true),
            _ => options.set(name, value),
        })?;
        Ok(Self {
            source,
            options,
            optional: optional.is_some(),
            text,
        })
    }
}

impl KeyOptions {
    /// Parses the options that follow a key on its line.
    pub(super) fn of_line(words: &[&str]) -> Result<Self, OptionError> {
        let mut options = Self::default();
        each_option(2, words, OF_LINE, |name, value| options.set(name, value))?;
        Ok(options)
    }

    /// Sets an option; returns `false` if it is unknown.
    fn set(&mut self, name: &str, value: Option<&str>) -> Result<bool, OptionError> {
        match (name, value) {
            ("id", Some(value)) => once(&mut self.id, "id", id(value)?)?,
            ("slots", Some(value)) => once(&mut self.slots, "slots", count("slots", value)?)?,
            ("weight", Some(value)) => once(&mut self.weight, "weight", count("weight", value)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Whether `word` is an option and not a key.
pub(super) fn is_option(word: &str) -> bool {
    matches!(word.split_once('='), Some(("id" | "slots" | "weight", _)))
}

/// Passes options, `name=value` or a word, to `read`, which returns `false` for an unknown one.
/// `first` is the position of the first option; `known` describes the options.
pub(crate) fn each_option(
    first: usize,
    words: &[&str],
    known: &'static str,
    mut read: impl FnMut(&str, Option<&str>) -> Result<bool, OptionError>,
) -> Result<(), OptionError> {
    for (position, &word) in (first..).zip(words) {
        let option = word.split_once('=');
        let (name, value) = option.map_or((word, None), |(name, value)| (name, Some(value)));
        if read(name, value)? {
            continue;
        }
        // The name of an unknown option is shown only if it cannot be a key.
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let harmless = (1..=16).contains(&name.len()) && name.bytes().all(is_letter);
        return Err(match value.filter(|_| harmless) {
            Some(_) => OptionError::Unknown {
                name: name.to_owned(),
                known,
            },
            None => OptionError::NotAnOption { position, known },
        });
    }
    Ok(())
}

/// Sets an option that must not be set yet.
pub(crate) fn once<T>(
    option: &mut Option<T>,
    name: &'static str,
    value: T,
) -> Result<(), OptionError> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(OptionError::Repeated(name)),
    }
}

/// Checks an id.
pub(super) fn id(value: &str) -> Result<String, OptionError> {
    if is_name(value) {
        return Ok(value.to_owned());
    }
    Err(OptionError::invalid("id", value, NAMES))
}

fn count(name: &'static str, value: &str) -> Result<NonZeroU16, OptionError> {
    digits(value).ok_or_else(|| OptionError::invalid(name, value, "a number from 1 to 65535"))
}
