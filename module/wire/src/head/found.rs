//! Fields found by the scan.

use std::ops::Range;

use super::text::Captured;
use super::{Field, Head, MAX_MODEL, MAX_USER, Options};
use crate::json::Kind;

/// A number field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// `max_tokens`, or its newer names.
    MaxTokens,
    /// `n`.
    Choices,
}

/// The last value of a field.
#[derive(Debug, Clone, Copy, Default)]
enum Seen<T> {
    #[default]
    Absent,
    Wrong,
    Is(T),
}

impl Seen<bool> {
    fn bool(kind: Kind) -> Self {
        match kind {
            Kind::Bool(value) => Self::Is(value),
            Kind::Null => Self::Absent,
            _ => Self::Wrong,
        }
    }
}

impl<T> Seen<T> {
    fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }

    fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// A value whose content follows.
    fn later(kind: Kind, wanted: Kind) -> Self {
        if kind == wanted || kind == Kind::Null {
            Self::Absent
        } else {
            Self::Wrong
        }
    }
}

/// The last values of all fields.
#[derive(Debug, Default)]
pub(super) struct Found {
    model: Seen<(Captured<MAX_MODEL>, Range<u64>)>,
    stream: Seen<bool>,
    options: Seen<()>,
    include_usage: Seen<bool>,
    user: Seen<Captured<MAX_USER>>,
    pub(super) prompt_bytes: u64,
    options_at: Options,
    pub(super) end_at: u64,
    max_tokens: Option<u32>,
    choices: Option<u32>,
}

impl Found {
    /// A value of `field` begins; discards an earlier one.
    pub(super) fn begin(&mut self, field: Field, kind: Kind) {
        match field {
            Field::Model => self.model = Seen::later(kind, Kind::String),
            Field::User => self.user = Seen::later(kind, Kind::String),
            Field::Stream => self.stream = Seen::bool(kind),
            Field::IncludeUsage => {
                self.include_usage = Seen::bool(kind);
                self.options_at = Options::Said;
            }
            Field::StreamOptions => {
                self.options = Seen::later(kind, Kind::Object);
                self.include_usage = Seen::Absent;
            }
        }
    }

    /// The value of `stream_options` begins at this byte.
    pub(super) fn options_begin(&mut self, kind: Kind, at: u64) {
        self.options_at = match kind {
            Kind::Null => Options::Null(at),
            Kind::Object => Options::Empty(at),
            _ => Options::Said,
        };
    }

    /// `stream_options` has a member.
    pub(super) fn options_member(&mut self) {
        if let Options::Empty(at) = self.options_at {
            self.options_at = Options::Object(at);
        }
    }

    pub(super) fn model(&mut self, model: Captured<MAX_MODEL>, at: Range<u64>) {
        self.model = Seen::Is((model, at));
    }

    pub(super) fn user(&mut self, user: Captured<MAX_USER>) {
        self.user = Seen::Is(user);
    }

    /// Stores a number, if it is a whole number of 32 bits.
    pub(super) fn count(&mut self, of: Count, value: Option<u64>) {
        let of = match of {
            Count::MaxTokens => &mut self.max_tokens,
            Count::Choices => &mut self.choices,
        };
        *of = value.and_then(|value| value.try_into().ok()).or(*of);
    }

    pub(super) fn into_head(self) -> Head {
        let wrong = [
            (Field::Model, self.model.is_wrong()),
            (Field::Stream, self.stream.is_wrong()),
            (Field::StreamOptions, self.options.is_wrong()),
            (Field::IncludeUsage, self.include_usage.is_wrong()),
            (Field::User, self.user.is_wrong()),
        ];
        let (model, model_at) = self.model.value().unzip();
        Head {
            model: model.unwrap_or_default(),
            model_at,
            stream: self.stream.value(),
            include_usage: self.include_usage.value(),
            user: self.user.value().unwrap_or_default(),
            prompt_bytes: self.prompt_bytes,
            options: self.options_at,
            end_at: self.end_at,
            max_tokens: self.max_tokens,
            choices: self.choices,
            wrong_kind: wrong
                .into_iter()
                .find_map(|(field, wrong)| wrong.then_some(field)),
        }
    }
}
