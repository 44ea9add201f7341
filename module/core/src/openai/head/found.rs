//! What the scan has found so far.

use super::text::Captured;
use super::{Field, Head, MAX_MODEL, MAX_USER};

/// The kind of a JSON value, as far as a field may ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Bool(bool),
    Null,
    Number,
    Object,
    Array,
}

/// A field's last value.
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

    /// Of a value whose content comes later.
    fn later(kind: Kind, wanted: Kind) -> Self {
        if kind == wanted || kind == Kind::Null {
            Self::Absent
        } else {
            Self::Wrong
        }
    }
}

/// The fields' last values.
#[derive(Debug, Default)]
pub(super) struct Found {
    model: Seen<Captured<MAX_MODEL>>,
    stream: Seen<bool>,
    options: Seen<()>,
    include_usage: Seen<bool>,
    user: Seen<Captured<MAX_USER>>,
    pub(super) prompt_bytes: u64,
}

impl Found {
    /// A value of `field` begins; whatever an earlier one said is forgotten.
    pub(super) fn begin(&mut self, field: Field, kind: Kind) {
        match field {
            Field::Model => self.model = Seen::later(kind, Kind::String),
            Field::User => self.user = Seen::later(kind, Kind::String),
            Field::Stream => self.stream = Seen::bool(kind),
            Field::IncludeUsage => self.include_usage = Seen::bool(kind),
            Field::StreamOptions => {
                self.options = Seen::later(kind, Kind::Object);
                self.include_usage = Seen::Absent;
            }
        }
    }

    pub(super) fn model(&mut self, model: Captured<MAX_MODEL>) {
        self.model = Seen::Is(model);
    }

    pub(super) fn user(&mut self, user: Captured<MAX_USER>) {
        self.user = Seen::Is(user);
    }

    pub(super) fn into_head(self) -> Head {
        let wrong = [
            (Field::Model, self.model.is_wrong()),
            (Field::Stream, self.stream.is_wrong()),
            (Field::StreamOptions, self.options.is_wrong()),
            (Field::IncludeUsage, self.include_usage.is_wrong()),
            (Field::User, self.user.is_wrong()),
        ];
        Head {
            model: self.model.value().unwrap_or_default(),
            stream: self.stream.value(),
            include_usage: self.include_usage.value(),
            user: self.user.value().unwrap_or_default(),
            prompt_bytes: self.prompt_bytes,
            wrong_kind: wrong
                .into_iter()
                .find_map(|(field, wrong)| wrong.then_some(field)),
        }
    }
}
