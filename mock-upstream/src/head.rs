//! The fields of a request that the mock looks at.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The model that is echoed when the request names none.
const DEFAULT_MODEL: &str = "\"gpt-3.5-turbo\"";
/// The most choices that the real API gives.
const MAX_CHOICES: u32 = 128;

/// What decides the form of an answer. Whatever the body holds gives a head: nothing is
/// validated here, a field of the wrong kind counts as absent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// The model, as a JSON string with its quotes.
    pub(crate) model: &'a str,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) include_obfuscation: Option<bool>,
    pub(crate) choices: u32,
    pub(crate) prompt_tokens: u64,
    /// The fields as they were sent; `None` when the body is no JSON object.
    pub(crate) fields: Option<Fields<'a>>,
}

impl<'a> Head<'a> {
    /// Reads a body. One that is no JSON object is answered by a stream, as is `"stream":true`.
    pub(crate) fn read(body: &'a [u8]) -> Self {
        // As text it is known to be UTF-8, which would be found out again for every field.
        let fields = std::str::from_utf8(body).ok();
        let Some(fields) = fields.and_then(|body| serde_json::from_str::<Fields<'a>>(body).ok())
        else {
            return Self {
                model: DEFAULT_MODEL,
                stream: true,
                include_usage: false,
                include_obfuscation: None,
                choices: 1,
                prompt_tokens: prompt_tokens(body.len()),
                fields: None,
            };
        };
        let model = fields.model.filter(|model| model.starts_with('"'));
        let options = fields.stream_options.map(StreamOptions::read);
        let options = options.unwrap_or_default();
        let choices = number(fields.n).and_then(|n| u32::try_from(n).ok());
        let prompt = fields.messages.or(fields.prompt).or(fields.input);
        Self {
            model: model.unwrap_or(DEFAULT_MODEL),
            stream: fields.stream == Some("true"),
            include_usage: options.include_usage == Some(true),
            include_obfuscation: options.include_obfuscation,
            choices: choices
                .filter(|n| (1..=MAX_CHOICES).contains(n))
                .unwrap_or(1),
            prompt_tokens: prompt_tokens(prompt.unwrap_or_default().len()),
            fields: Some(fields),
        }
    }

    /// The model without quotes.
    pub(crate) fn model_name(&self) -> Cow<'a, str> {
        let plain = self.model.trim_matches('"');
        if plain.contains('\\') {
            serde_json::from_str(self.model).unwrap_or(Cow::Borrowed(plain))
        } else {
            Cow::Borrowed(plain)
        }
    }

    /// The most tokens that the answer may have.
    pub(crate) fn max_tokens(&self) -> Option<u64> {
        let fields = self.fields.as_ref()?;
        let limits = [
            fields.max_completion_tokens,
            fields.max_tokens,
            fields.max_output_tokens,
        ];
        limits.into_iter().find_map(number)
    }

    /// The names of the functions offered, and whether one has to be called.
    pub(crate) fn functions(&self) -> (Vec<String>, bool) {
        let Some(fields) = &self.fields else {
            return (Vec::new(), false);
        };
        let name = |tool: &Value| {
            let name = tool["function"]["name"].as_str();
            name.or(tool["name"].as_str()).map(str::to_owned)
        };
        let choice: Value = json(fields.tool_choice).unwrap_or_default();
        if let Some(forced) = name(&choice) {
            return (vec![forced], true);
        }
        let tools: Vec<Value> = json(fields.tools).unwrap_or_default();
        let names = tools.iter().filter_map(name).collect();
        (names, choice == "required")
    }

    /// What the last message, the prompt or the input says.
    pub(crate) fn last_said(&self) -> Option<String> {
        let fields = self.fields.as_ref()?;
        if let Some(text) = json::<String>(fields.prompt).or_else(|| json(fields.input)) {
            return Some(text);
        }
        let messages: Vec<Value> = json(fields.messages.or(fields.input))?;
        match &messages.last()?["content"] {
            Value::String(text) => Some(text.clone()),
            Value::Array(parts) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                Some(texts.collect())
            }
            _ => None,
        }
    }
}

/// Reads a field, if it is there and of that kind.
pub(crate) fn json<'a, T: Deserialize<'a>>(field: Option<&'a str>) -> Option<T> {
    serde_json::from_str(field?).ok()
}

fn number(field: Option<&str>) -> Option<u64> {
    json(field)
}

/// One token for every four bytes of the messages as they were sent, rounded up.
fn prompt_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    include_obfuscation: Option<bool>,
}

impl StreamOptions {
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

macro_rules! fields {
    ($($field:ident)+) => {
        /// The raw text of the fields; the last of several of one name counts, as in most readers.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub(crate) struct Fields<'a> {
            $( pub(crate) $field: Option<&'a str>, )+
        }

        impl<'a> Fields<'a> {
            fn take(&mut self, name: &str, value: &'a str) {
                match name {
                    $( stringify!($field) => self.$field = Some(value), )+
                    _ => {}
                }
            }
        }
    };
}

fields! {
    model stream stream_options messages prompt input n tools tool_choice max_tokens
    max_completion_tokens max_output_tokens temperature top_p dimensions encoding_format
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
            fields.take(&name, value);
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
        Head::read(body.as_bytes()).stream
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
        let model = |body: &'static str| Head::read(body.as_bytes()).model;
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
        let wanted = |body: &str| Head::read(body.as_bytes()).include_usage;
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
    fn choices_are_as_many_as_the_real_api_gives() {
        let choices = |body: &str| Head::read(body.as_bytes()).choices;
        assert_eq!(choices(r#"{"n":3}"#), 3);
        for body in [
            "{}",
            r#"{"n":0}"#,
            r#"{"n":129}"#,
            r#"{"n":"3"}"#,
            r#"{"n":1.5}"#,
        ] {
            assert_eq!(choices(body), 1, "{body}");
        }
    }

    #[test]
    fn functions_are_those_offered_or_the_one_that_is_forced() {
        let tools = r#""tools":[{"type":"function","function":{"name":"a"}},{"type":"function","name":"b"}]"#;
        let functions = |choice: &str| {
            let body = format!("{{{tools}{choice}}}");
            Head::read(body.as_bytes()).functions()
        };
        let both = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(functions(""), (both(), false));
        assert_eq!(functions(r#","tool_choice":"auto""#), (both(), false));
        assert_eq!(functions(r#","tool_choice":"required""#), (both(), true));
        let forced = r#","tool_choice":{"type":"function","function":{"name":"b"}}"#;
        assert_eq!(functions(forced), (vec!["b".to_owned()], true));
    }

    #[test]
    fn the_last_thing_said_is_found() {
        let said = |body: &str| Head::read(body.as_bytes()).last_said();
        let messages = r#"{"messages":[{"content":"one"},{"content":"two"}]}"#;
        assert_eq!(said(messages).as_deref(), Some("two"));
        let parts =
            r#"{"messages":[{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        assert_eq!(said(parts).as_deref(), Some("ab"));
        assert_eq!(said(r#"{"prompt":"p"}"#).as_deref(), Some("p"));
        assert_eq!(said(r#"{"input":"i"}"#).as_deref(), Some("i"));
        assert_eq!(said("{}"), None);
        assert_eq!(said("none"), None);
    }

    #[test]
    fn prompt_tokens_follow_the_messages() {
        let tokens = |body: &str| Head::read(body.as_bytes()).prompt_tokens;
        assert_eq!(tokens("{}"), 0);
        assert_eq!(tokens(r#"{"messages":[]}"#), 1);
        assert_eq!(
            tokens(r#"{"messages":[{"role":"user","content":"hi"}]}"#),
            8
        );
    }
}
