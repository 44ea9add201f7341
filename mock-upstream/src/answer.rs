//! What an answer says, in whatever form it is then sent.

use std::sync::Arc;

use crate::fault::{Fault, Fields, FinishReason, Text};
use crate::head::Head;
use crate::ident;
use crate::script::Script;

const DEFAULT_FUNCTION: &str = "get_weather";
const DEFAULT_ARGUMENTS: &str = r#"{"location":"Paris, France"}"#;
/// A token of a tool call's arguments has so many characters.
const FRAGMENT: usize = 5;

/// Counts of tokens, in the words of the real API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
}

impl Usage {
    pub(crate) fn total(self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }

    /// The `usage` of chat completions and completions.
    pub(crate) fn to_json(self, fields: Fields) -> String {
        let Self { prompt, completion } = self;
        let details = match fields {
            Fields::Minimal => "",
            Fields::Full => concat!(
                r#","prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"#,
                r#""completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"#,
                r#""accepted_prediction_tokens":0,"rejected_prediction_tokens":0}"#
            ),
        };
        format!(
            "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
             \"total_tokens\":{}{details}}}",
            self.total()
        )
    }
}

/// A call of a function that the client offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    /// The function's name as a JSON string.
    pub(crate) name: String,
    pub(crate) arguments: Arc<str>,
}

impl Call {
    /// The arguments in the pieces in which they are streamed.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.arguments;
        std::iter::from_fn(move || {
            let end = rest
                .char_indices()
                .nth(FRAGMENT)
                .map_or(rest.len(), |(at, _)| at);
            let (piece, after) = rest.split_at(end);
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// What is said, how often, and why it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The model as a JSON string.
    pub(crate) model: Box<str>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) script: Arc<Script>,
    /// Words of the text, of each choice.
    pub(crate) words: u32,
    /// Calls instead of a text.
    pub(crate) calls: Vec<Call>,
    pub(crate) choices: u32,
    pub(crate) finish: FinishReason,
    pub(crate) fields: Fields,
    pub(crate) service_tier: Arc<str>,
    pub(crate) obfuscate: bool,
    pub(crate) usage: Usage,
}

impl Answer {
    /// Decides the answer to a request.
    pub(crate) fn to(head: &Head<'_>, fault: &Fault) -> Self {
        let strict = fault.strict == Some(true);
        let script = script(head, fault);
        let whole = script.count(fault.words);
        let most = head.max_tokens().filter(|_| strict);
        let most = most.and_then(|most| u32::try_from(most).ok());
        let words = most.map_or(whole, |most| whole.min(most));
        let calls = calls(head, fault, strict);
        let finish = fault.finish_reason.unwrap_or(if !calls.is_empty() {
            FinishReason::ToolCalls
        } else if words < whole {
            FinishReason::Length
        } else {
            FinishReason::Stop
        });
        let mut answer = Self {
            model: head.model.into(),
            stream: head.stream || fault.always_stream == Some(true),
            include_usage: head.include_usage,
            script,
            words,
            calls,
            choices: head.choices,
            finish,
            fields: fault.fields.unwrap_or_default(),
            service_tier: fault
                .service_tier
                .clone()
                .unwrap_or_else(|| DEFAULT_TIER.with(Arc::clone)),
            obfuscate: fault
                .obfuscation
                .or(head.include_obfuscation)
                .unwrap_or(false),
            usage: Usage {
                prompt: head.prompt_tokens,
                completion: 0,
            },
        };
        answer.usage.completion = answer.tokens() * u64::from(answer.choices);
        answer
    }

    /// The tokens of one choice: its words, or the pieces of its calls.
    fn tokens(&self) -> u64 {
        if self.calls.is_empty() {
            return u64::from(self.words);
        }
        let pieces = self.calls.iter().map(|call| 1 + call.fragments().count());
        pieces.sum::<usize>() as u64
    }

    /// The text in JSON form, without quotes.
    pub(crate) fn escaped_text(&self) -> String {
        let words = (0..self.words).filter_map(|index| self.script.word(index, self.words));
        words.map(|word| &*word.escaped).collect()
    }

    /// The `chat.completion` object: what the stream would have said, at once.
    pub(crate) fn to_chat_completion(&self, id: &str, created: u64) -> String {
        let (full, model) = (self.fields == Fields::Full, &self.model);
        let mut json = format!(
            "{{\"id\":\"{id}\",\"object\":\"chat.completion\",\"created\":{created},\
             \"model\":{model},\"choices\":["
        );
        let content = if self.calls.is_empty() {
            format!("\"{}\"", self.escaped_text())
        } else {
            "null".to_owned()
        };
        let annotations = if full { ",\"annotations\":[]" } else { "" };
        for index in 0..self.choices {
            let comma = if index > 0 { "," } else { "" };
            let calls = self.calls_json();
            json.push_str(&format!(
                "{comma}{{\"index\":{index},\"message\":{{\"role\":\"assistant\",\
                 \"content\":{content}{calls},\"refusal\":null{annotations}}},\"logprobs\":null,\
                 \"finish_reason\":\"{}\"}}",
                self.finish.as_str()
            ));
        }
        json.push_str("],\"usage\":");
        json.push_str(&self.usage.to_json(self.fields));
        if full {
            json.push_str(&format!(
                ",\"service_tier\":\"{}\",\"system_fingerprint\":\"{}\"",
                self.service_tier,
                ident::FINGERPRINT
            ));
        }
        json.push('}');
        json
    }

    fn calls_json(&self) -> String {
        if self.calls.is_empty() {
            return String::new();
        }
        let calls = self.calls.iter().map(|call| {
            format!(
                "{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\
                 \"arguments\":{}}}}}",
                call.id,
                call.name,
                quoted(&call.arguments)
            )
        });
        let calls: Vec<String> = calls.collect();
        format!(",\"tool_calls\":[{}]", calls.join(","))
    }
}

thread_local! {
    static DEFAULT_TIER: Arc<str> = "default".into();
    static NO_TEXT: Text = Text::new("");
}

fn script(head: &Head<'_>, fault: &Fault) -> Arc<Script> {
    let usual = || {
        let text = fault.text.as_ref().map(|text| Arc::clone(&text.0));
        text.unwrap_or_else(|| NO_TEXT.with(|text| Arc::clone(&text.0)))
    };
    let echoed = (fault.echo == Some(true))
        .then(|| head.last_said())
        .flatten();
    match (echoed, fault.huge_chunk) {
        (None, None) => usual(),
        (Some(text), None) => Arc::new(Script::new(&text)),
        (text, Some(bytes)) => {
            let text = text.unwrap_or_else(|| usual().text());
            Arc::new(Script::new(&format!("{} {text}", "x".repeat(bytes))))
        }
    }
}

fn calls(head: &Head<'_>, fault: &Fault, strict: bool) -> Vec<Call> {
    let wanted = fault.tool_calls.unwrap_or(u32::from(
        fault.finish_reason == Some(FinishReason::ToolCalls),
    ));
    if wanted == 0 && !strict {
        return Vec::new();
    }
    let (names, forced) = head.functions();
    let count = if wanted == 0 {
        u32::from(forced)
    } else {
        wanted
    };
    let arguments = fault.tool_arguments.clone();
    let arguments = arguments.unwrap_or_else(|| DEFAULT_ARGUMENTS.into());
    let call = |index: usize| {
        let name = index.checked_rem(names.len()).map(|at| names[at].as_str());
        Call {
            id: ident::call_id(),
            name: quoted(name.unwrap_or(DEFAULT_FUNCTION)),
            arguments: Arc::clone(&arguments),
        }
    };
    (0..count as usize).map(call).collect()
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    // A string always serializes.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn answer(body: &str, settings: &[(&str, &str)]) -> Answer {
        let mut fault = Fault {
            text: Some(Text::new("say \"hi\"")),
            ..Fault::default()
        };
        for (name, value) in settings {
            fault.set(name, value).expect(name);
        }
        Answer::to(&Head::read(body.as_bytes()), &fault)
    }

    fn completion(body: &str, settings: &[(&str, &str)]) -> String {
        let mut answer = answer(body, settings);
        for (index, call) in answer.calls.iter_mut().enumerate() {
            call.id = format!("call_{index}");
        }
        let text = answer.to_chat_completion("chatcmpl-1", 7);
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["object"], "chat.completion");
        text
    }

    const BODY: &str = r#"{"model":"gpt-4o","messages":[1]}"#;

    #[test]
    fn a_completion_says_what_the_stream_says() {
        insta::assert_snapshot!(completion(BODY, &[("words", "3"), ("fields", "minimal")]), @r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"say \"hi\" say ","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":3,"total_tokens":4}}"#);
        insta::assert_snapshot!(completion(BODY, &[]), @r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"say \"hi\"","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_6d6f636b75"}"#);
    }

    #[test]
    fn a_completion_with_choices_and_calls() {
        let body =
            r#"{"model":"m","n":2,"tools":[{"function":{"name":"a"}},{"function":{"name":"b"}}]}"#;
        let calls = [
            ("tool-calls", "3"),
            ("tool-arguments", "{\"x\": \"é\"}"),
            ("fields", "minimal"),
        ];
        insta::assert_snapshot!(completion(body, &calls), @r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"a","arguments":"{\"x\": \"é\"}"}},{"id":"call_1","type":"function","function":{"name":"b","arguments":"{\"x\": \"é\"}"}},{"id":"call_2","type":"function","function":{"name":"a","arguments":"{\"x\": \"é\"}"}}],"refusal":null},"logprobs":null,"finish_reason":"tool_calls"},{"index":1,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"a","arguments":"{\"x\": \"é\"}"}},{"id":"call_1","type":"function","function":{"name":"b","arguments":"{\"x\": \"é\"}"}},{"id":"call_2","type":"function","function":{"name":"a","arguments":"{\"x\": \"é\"}"}}],"refusal":null},"logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":0,"completion_tokens":18,"total_tokens":18}}"#);
    }

    #[test]
    fn usage_counts_what_is_said() {
        assert_eq!(answer(BODY, &[]).usage.completion, 2);
        assert_eq!(answer(BODY, &[("words", "9")]).usage.completion, 9);
        assert_eq!(answer(r#"{"n":3}"#, &[]).usage.completion, 6);
        let calls = [("tool-calls", "2"), ("tool-arguments", "0123456789a")];
        assert_eq!(answer(BODY, &calls).usage.completion, 2 * (1 + 3));
    }

    #[test]
    fn only_strict_answers_obey_what_shortens_or_replaces_the_text() {
        let body =
            r#"{"max_tokens":1,"tool_choice":"required","tools":[{"function":{"name":"f"}}]}"#;
        let lenient = answer(body, &[]);
        assert_eq!((lenient.words, lenient.finish), (2, FinishReason::Stop));
        let strict = answer(body, &[("strict", "true")]);
        assert_eq!(
            (strict.calls.len(), strict.finish),
            (1, FinishReason::ToolCalls)
        );
        assert_eq!(strict.calls[0].name, "\"f\"");
        let short = answer(r#"{"max_completion_tokens":1}"#, &[("strict", "true")]);
        assert_eq!((short.words, short.finish), (1, FinishReason::Length));
        assert_eq!(short.usage.completion, 1);
    }

    #[test]
    fn echoes_and_huge_words() {
        let body = r#"{"messages":[{"content":"a b c"}]}"#;
        let echoed = answer(body, &[("echo", "true")]);
        assert_eq!(echoed.escaped_text(), "a b c");
        assert_eq!(
            answer("{}", &[("echo", "true")]).escaped_text(),
            r#"say \"hi\""#
        );
        let huge = answer("{}", &[("huge-chunk", "5")]);
        assert_eq!(huge.escaped_text(), r#"xxxxx say \"hi\""#);
    }
}
