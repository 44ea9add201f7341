//! Invariants of the request-head scanner for arbitrary bytes.
//!
//! Shared by the fuzz target and by the tests.

use std::fmt;

use openai_wire::head::{Captured, Field, Head, HeadError, HeadScanner};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Beginnings of the messages of `serde_json` for inputs that the scanner accepts.
const TAKEN_MORE_LIGHTLY: [&str; 6] = [
    "control character",
    "invalid unicode code point",
    "lone leading surrogate",
    "number out of range",
    "recursion limit exceeded",
    "unexpected end of hex escape",
];

/// Result of the comparison with `serde_json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Both found the same head.
    Head,
    /// Both rejected the body.
    Refused,
    /// `serde_json` is stricter here.
    Incomparable,
}

/// Scans a body in pieces that end at `cuts`.
pub(crate) fn scan(body: &[u8], cuts: impl IntoIterator<Item = usize>) -> Result<Head, HeadError> {
    let mut scanner = HeadScanner::new();
    let mut done = 0;
    for cut in cuts {
        let cut = cut.clamp(done, body.len());
        scanner.feed(&body[done..cut]);
        done = cut;
    }
    scanner.feed(&body[done..]);
    scanner.finish()
}

/// Checks the scanner with arbitrary bytes.
///
/// # Panics
/// When it contradicts itself or `serde_json`.
pub(crate) fn check(body: &[u8]) -> Reading {
    let whole = scan(body, []);
    let seed = body.iter().fold(7_usize, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    assert_eq!(scan(body, 0..body.len()), whole, "a byte at a time");
    assert_eq!(
        scan(body, (0..body.len()).step_by(seed % 13 + 2)),
        whole,
        "small pieces"
    );
    assert_eq!(scan(body, [seed % (body.len() + 1)]), whole, "two pieces");
    match &whole {
        Ok(_) => check_truncated(body, seed),
        Err(HeadError::Malformed { offset } | HeadError::TooDeep { offset }) => {
            assert!(*offset <= body.len() as u64, "the mistake is in the body");
        }
        Err(HeadError::NotAnObject) => {}
    }
    compare(body, whole)
}

/// A body without its last brace is rejected at its end.
fn check_truncated(body: &[u8], seed: usize) {
    let last = body
        .iter()
        .rposition(|byte| *byte == b'}')
        .unwrap_or_default();
    let cut = seed % (last + 1);
    let truncated = HeadError::Malformed { offset: cut as u64 };
    assert_eq!(scan(&body[..cut], []), Err(truncated), "cut at {cut}");
}

fn compare(body: &[u8], scanned: Result<Head, HeadError>) -> Reading {
    match (serde_json::from_slice::<Value>(body), scanned) {
        (Ok(Value::Object(object)), Ok(head)) => {
            compare_heads(&object, &head);
            compare_model_at(&object, &head, body);
            compare_counts(body, &head);
            Reading::Head
        }
        (Ok(Value::Object(_)), Err(error)) => {
            assert_eq!(None, Some(error), "refused what is JSON");
            Reading::Refused
        }
        (Ok(_), scanned) => {
            assert_eq!(scanned, Err(HeadError::NotAnObject));
            Reading::Refused
        }
        (Err(error), scanned) => {
            let message = error.to_string();
            if TAKEN_MORE_LIGHTLY
                .iter()
                .any(|begin| message.starts_with(begin))
            {
                return Reading::Incomparable;
            }
            let is_json = matches!(scanned, Ok(_) | Err(HeadError::NotAnObject));
            assert!(!is_json, "took what is no JSON: {message}");
            Reading::Refused
        }
    }
}

fn compare_heads(object: &Map<String, Value>, head: &Head) {
    let options = get(object, "stream_options");
    let include_usage = options
        .and_then(Value::as_object)
        .and_then(|options| get(options, "include_usage"));
    let (model, user) = (get(object, "model"), get(object, "user"));
    let stream = get(object, "stream");

    compare_text(model, &head.model);
    compare_text(user, &head.user);
    assert_eq!(head.stream, stream.and_then(Value::as_bool));
    assert_eq!(head.include_usage, include_usage.and_then(Value::as_bool));
    let wrong = [
        (Field::Model, model.is_some_and(|value| !value.is_string())),
        (
            Field::Stream,
            stream.is_some_and(|value| !value.is_boolean()),
        ),
        (
            Field::StreamOptions,
            options.is_some_and(|value| !value.is_object()),
        ),
        (
            Field::IncludeUsage,
            include_usage.is_some_and(|value| !value.is_boolean()),
        ),
        (Field::User, user.is_some_and(|value| !value.is_string())),
    ];
    let wrong = wrong
        .into_iter()
        .find_map(|(field, wrong)| wrong.then_some(field));
    assert_eq!(head.wrong_kind, wrong);
}

/// The range contains the string that a parser returns for the model.
fn compare_model_at(object: &Map<String, Value>, head: &Head, body: &[u8]) {
    let lies = head.model_at.clone().map(|at| {
        let at = at.start as usize..at.end as usize;
        serde_json::from_slice::<Value>(&body[at]).ok()
    });
    let string = object.get("model").filter(|model| model.is_string());
    assert_eq!(lies, string.map(|model| Some(model.clone())));
}

fn compare_counts(body: &[u8], head: &Head) {
    let Ok(Entries(entries)) = serde_json::from_slice(body) else {
        unreachable!("it has been read as an object before");
    };
    let last = |names: &[&str]| {
        let named = entries
            .iter()
            .filter(|(key, _)| names.contains(&key.as_str()));
        named
            .filter_map(|(_, value)| u32::try_from(value.as_u64()?).ok())
            .next_back()
    };
    let max_tokens = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    assert_eq!(head.max_tokens, last(&max_tokens));
    assert_eq!(head.choices, last(&["n"]));
}

/// All entries of an object in their order, including repeated ones.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        body.deserialize_map(Object)
    }
}

fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn compare_text<const N: usize>(value: Option<&Value>, captured: &Captured<N>) {
    match value.and_then(Value::as_str) {
        None => assert_eq!(*captured, Captured::Absent),
        Some(text) if text.len() > N => assert_eq!(*captured, Captured::TooLong),
        Some(text) => assert_eq!(captured.as_str(), Some(text)),
    }
}
