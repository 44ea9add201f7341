//! The few fields of a chat request that the mock looks at.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The model that is echoed when the request names none.
const DEFAULT_MODEL: &str = "\"gpt-3.5-turbo\"";

/// What decides the form of a chat answer. Whatever the body holds gives a head: nothing is
/// validated, a field of the wrong kind counts as absent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChatHead<'a> {
    /// The model, as a JSON string with its quotes.
    pub(crate) model: &'a str,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) prompt_tokens: u64,
}

impl<'a> ChatHead<'a> {
    /// Reads a body. One that is no JSON object is answered by a stream, as is `"stream":true`.
    pub(crate) fn read(body: &'a [u8]) -> Self {
        let Ok(fields) = serde_json::from_slice::<Fields<'a>>(body) else {
            return Self {
                model: DEFAULT_MODEL,
                stream: true,
                include_usage: false,
                prompt_tokens: prompt_tokens(body.len()),
            };
        };
        let model = fields.model.filter(|model| model.starts_with('"'));
        Self {
            model: model.unwrap_or(DEFAULT_MODEL),
            stream: fields.stream == Some("true"),
            include_usage: fields.stream_options.is_some_and(asks_for_usage),
            prompt_tokens: prompt_tokens(fields.messages.unwrap_or_default().len()),
        }
    }
}

/// One token for every four bytes of the messages as they were sent, rounded up.
fn prompt_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

fn asks_for_usage(stream_options: &str) -> bool {
    #[derive(Deserialize)]
    struct Options {
        include_usage: bool,
    }
    serde_json::from_str(stream_options).is_ok_and(|options: Options| options.include_usage)
}

/// The raw text of the fields; the last of several of one name counts, as in most readers.
#[derive(Default)]
struct Fields<'a> {
    model: Option<&'a str>,
    stream: Option<&'a str>,
    stream_options: Option<&'a str>,
    messages: Option<&'a str>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value::<&'de RawValue>()?.get();
            match &*name {
                "model" => fields.model = Some(value),
                "stream" => fields.stream = Some(value),
                "stream_options" => fields.stream_options = Some(value),
                "messages" => fields.messages = Some(value),
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// A field's name, borrowed from the body unless it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(body: &str) -> bool {
        ChatHead::read(body.as_bytes()).stream
    }

    #[test]
    fn streams_unless_an_object_does_not_ask_for_it() {
        for body in ["", "hello", "[1]", "3", "{\"model\":", "{\"stream\":true}"] {
            assert!(streams(body), "{body}");
        }
        for body in [
            "{}",
            "{\"stream\":false}",
            "{\"stream\":null}",
            "{\"stream\":\"true\"}",
        ] {
            assert!(!streams(body), "{body}");
        }
    }

    #[test]
    fn echoes_a_model_as_it_is_written() {
        let model = |body: &'static str| ChatHead::read(body.as_bytes()).model;
        assert_eq!(model(r#"{"model":"gpt-4o"}"#), r#""gpt-4o""#);
        assert_eq!(model(r#"{"model" : "a\"b\u00e9" }"#), r#""a\"b\u00e9""#);
        assert_eq!(model(r#"{"mod\u0065l":"m"}"#), r#""m""#);
        assert_eq!(model(r#"{"model":"first","model":"last"}"#), r#""last""#);
        for body in ["", "{}", r#"{"model":5}"#, r#"{"x":{"model":"inner"}}"#] {
            assert_eq!(model(body), DEFAULT_MODEL, "{body}");
        }
    }

    #[test]
    fn usage_is_wanted_only_when_said() {
        let wanted = |body: &str| ChatHead::read(body.as_bytes()).include_usage;
        assert!(wanted(r#"{"stream_options":{"include_usage":true}}"#));
        assert!(wanted(r#"{"stream_options":{"x":1,"include_usage":true}}"#));
        for options in ["null", "{}", "true", r#"{"include_usage":false}"#] {
            assert!(
                !wanted(&format!("{{\"stream_options\":{options}}}")),
                "{options}"
            );
        }
    }

    #[test]
    fn prompt_tokens_follow_the_messages() {
        let tokens = |body: &str| ChatHead::read(body.as_bytes()).prompt_tokens;
        assert_eq!(tokens("{}"), 0);
        assert_eq!(tokens(r#"{"messages":[]}"#), 1);
        assert_eq!(
            tokens(r#"{"messages":[{"role":"user","content":"hi"}]}"#),
            8
        );
    }
}
