//! Golden streams.

use super::*;
use crate::fault::{Fault, Text};
use crate::head::Head;
use crate::settings::Settings;

fn events(body: &str, settings: &[(&str, &str)]) -> Vec<String> {
    let mut fault = Fault {
        text: Some(Text::new("powered by openai")),
        ..Fault::default()
    };
    for (name, value) in settings {
        fault.set(name, value).expect(name);
    }
    let head = Head::read(body.as_bytes());
    let mut answer = Answer::to(&head, &fault);
    for (index, call) in answer.calls.iter_mut().enumerate() {
        call.id = format!("call_{index}");
    }
    let tokens = answer.usage.completion;
    let mut chunks = Chunks::new(answer, "chatcmpl-1", 7);
    let events = std::iter::from_fn(|| {
        let mut event = Vec::new();
        chunks.write_next(&mut event);
        (!event.is_empty()).then(|| String::from_utf8(event).expect("UTF-8"))
    });
    let events: Vec<String> = events.collect();
    assert_eq!(chunks.words_taken(), tokens);
    events
}

fn stream(body: &str, settings: &[(&str, &str)]) -> String {
    events(body, settings).concat()
}

#[test]
fn the_fields_that_every_client_reads() {
    insta::assert_snapshot!(stream("", &[("fields", "minimal")]), @r#"
    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"powered "},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"by "},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"openai"},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

    data: [DONE]
    "#);
}

#[test]
fn every_field() {
    insta::assert_snapshot!(stream("", &[]), @r#"
    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","service_tier":"default","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","service_tier":"default","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{"content":"powered "},"logprobs":null,"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","service_tier":"default","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{"content":"by "},"logprobs":null,"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","service_tier":"default","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{"content":"openai"},"logprobs":null,"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","service_tier":"default","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

    data: [DONE]
    "#);
}

#[test]
fn usage() {
    let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    let settings = [
        ("words", "1"),
        ("finish-reason", "length"),
        ("service-tier", "flex"),
    ];
    insta::assert_snapshot!(stream(body, &settings), @r#"
    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"flex","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"flex","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{"content":"powered "},"logprobs":null,"finish_reason":null}],"usage":null}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"flex","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"flex","system_fingerprint":"fp_6d6f636b75","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}

    data: [DONE]
    "#);
}

#[test]
fn choices() {
    let settings = [("words", "2"), ("fields", "minimal")];
    insta::assert_snapshot!(stream(r#"{"model":"m","n":2}"#, &settings), @r#"
    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":1,"delta":{"role":"assistant"},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"powered "},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":1,"delta":{"content":"powered "},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"by "},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":1,"delta":{"content":"by "},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}

    data: [DONE]
    "#);
}

#[test]
fn tool_calls() {
    let body = r#"{"model":"m","tools":[{"type":"function","function":{"name":"look_up"}}]}"#;
    let settings = [
        ("tool-calls", "2"),
        ("tool-arguments", "{\"q\":1}"),
        ("fields", "minimal"),
    ];
    insta::assert_snapshot!(stream(body, &settings), @r#"
    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_0","type":"function","function":{"name":"look_up","arguments":""}}]},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"q\":"}}]},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_1","type":"function","function":{"name":"look_up","arguments":""}}]},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{\"q\":"}}]},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"1}"}}]},"finish_reason":null}]}

    data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

    data: [DONE]
    "#);
}

#[test]
fn without_words() {
    assert_eq!(stream("", &[("text", "")]).matches("data: ").count(), 3);
    assert_eq!(stream("", &[("words", "0")]).matches("data: ").count(), 3);
}

#[test]
fn obfuscation_makes_events_of_words_alike() {
    let body = r#"{"stream":true,"stream_options":{"include_obfuscation":true}}"#;
    for (body, settings) in [
        (body, [("words", "4")].as_slice()),
        ("", &[("obfuscation", "true")]),
    ] {
        let events = events(body, settings);
        let padded = &events[..events.len() - 1];
        assert!(padded.iter().all(|event| event.len() % PADDING == 0));
        assert!(
            padded
                .iter()
                .all(|event| event.contains("\"obfuscation\":\""))
        );
    }
    let declined = r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#;
    assert!(!stream(declined, &[]).contains("obfuscation"));
}
