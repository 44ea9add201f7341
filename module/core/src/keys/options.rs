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
        let mut directive = Self {
            source: SecretSource::parse(source)?,
            options: KeyOptions::default(),
            optional: false,
            text: options.join(" "),
        };
        for (position, option) in (2..).zip(options) {
            if *option != OPTIONAL {
                directive.options.set(option, position, OF_DIRECTIVE)?;
            } else if directive.optional {
                return Err(OptionError::Repeated(OPTIONAL).into());
            } else {
                directive.optional = true;
            }
        }
        Ok(directive)
    }
}

impl KeyOptions {
    /// Parses the options that follow a key on its line.
    pub(super) fn of_line<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for (position, word) in (2..).zip(words) {
            options.set(word, position, OF_LINE)?;
        }
        Ok(options)
    }

    fn set(
        &mut self,
        option: &str,
        position: usize,
        known: &'static str,
    ) -> Result<(), OptionError> {
        let Some((name, value)) = option.split_once('=') else {
            return Err(OptionError::NotAnOption { position, known });
        };
        match name {
            "id" => once(&mut self.id, "id", id(value)?),
            "slots" => once(&mut self.slots, "slots", count("slots", value)?),
            "weight" => once(&mut self.weight, "weight", count("weight", value)?),
            _ => Err(unknown(name, position, known)),
        }
    }
}

/// Whether `word` is an option and not a key.
pub(super) fn is_option(word: &str) -> bool {
    ["id=", "slots=", "weight="]
        .iter()
        .any(|option| word.starts_with(option))
}

/// The error for an unknown option. Its name is shown only if it cannot be a key.
pub(crate) fn unknown(name: &str, position: usize, known: &'static str) -> OptionError {
    let harmless = (1..=16).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if harmless {
        OptionError::Unknown {
            name: name.to_owned(),
            known,
        }
    } else {
        OptionError::NotAnOption { position, known }
    }
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
