//! The context that a service states for its lock, within size limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lease::MAX_CONTEXT;

const MAX_FIELDS: usize = 16;
const MAX_FIELD_NAME: usize = 64;
const MAX_TEXT: usize = 256;
/// Fields that are kept first if there are too many.
const FIRST: [&str; 3] = ["dimension", "content_type", "template"];

/// Context of a lock: short texts, shown in listings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockContext {
    /// The texts by field name.
    #[serde(rename = "c")]
    pub fields: BTreeMap<String, String>,
    /// Whether fields or parts of texts were left out.
    #[serde(rename = "t")]
    pub truncated: bool,
}

impl LockContext {
    /// Keeps the text fields within the size limits; drops fields of other types.
    #[must_use]
    pub fn of(fields: &BTreeMap<String, Value>) -> Self {
        let first = |name: &str| FIRST.iter().position(|f| *f == name).unwrap_or(FIRST.len());
        let mut texts: Vec<_> = fields
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        texts.sort_by_key(|(name, _)| first(name));
        let mut context = Self::default();
        for (name, text) in texts {
            if name.len() > MAX_FIELD_NAME || context.fields.len() == MAX_FIELDS {
                context.truncated = true;
                continue;
            }
            let cut = cut(text);
            context.truncated |= cut.len() < text.len();
            context.fields.insert(name.to_owned(), cut.to_owned());
            if context.to_text().len() > MAX_CONTEXT {
                context.fields.remove(name);
                context.truncated = true;
            }
        }
        context
    }

    /// The stored form.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the stored form.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
