use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scan(stream: bool, pieces: &[&[u8]]) -> (Option<Tokens>, SeenText) {
    let mut scanner = UsageScanner::new(stream);
    for piece in pieces {
        scanner.feed(piece);
    }
    (scanner.finish(true), scanner.content())
}

fn body(text: &str) -> Option<Tokens> {
    scan(false, &[text.as_bytes()]).0
}

fn events(text: &str) -> (Option<Tokens>, SeenText) {
    scan(true, &[text.as_bytes()])
}

fn tokens(prompt: u64, completion: u64, cached: u64, reasoning: u64) -> Option<Tokens> {
    Some(Tokens {
        prompt,
        completion,
        cached,
        reasoning,
    })
}

const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"say \"usage\": {\"prompt_tokens\":1}","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":0}},"service_tier":"default"}"#;

const RESPONSE: &str = r#"{"id":"resp_1","object":"response","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"tools":[{"type":"function","parameters":{"usage":{"input_tokens":0,"output_tokens":0}}}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":3},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123},"user":null,"metadata":{"usage":"none"}}"#;

const STREAM: &str = concat!(
    r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"content":"powered "},"finish_reason":null}],"usage":null}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"content":"by "},"finish_reason":null}],"usage":null}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
    "\n\n",
    r#"data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    "\n\ndata: [DONE]\n\n"
);

#[test]
fn a_chat_completion_tells_all_kinds() {
    assert_eq!(body(CHAT), tokens(9, 12, 4, 5));
}

#[test]
fn a_response_tells_input_and_output() {
    assert_eq!(body(RESPONSE), tokens(36, 87, 3, 64));
}

#[test]
fn embeddings_have_no_completion() {
    let text = r#"{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    assert_eq!(body(text), tokens(8, 0, 0, 0));
    assert_eq!(body(r#"{"usage":{"total_tokens":8}}"#), tokens(8, 0, 0, 0));
}

#[test]
fn white_space_does_not_matter() {
    let pretty = serde_json::from_str::<Value>(CHAT).expect("JSON");
    let pretty = serde_json::to_string_pretty(&pretty).expect("JSON");
    assert_eq!(body(&pretty), tokens(9, 12, 4, 5));
    assert_eq!(
        body("{\"usage\" :\r\n\t{ \"prompt_tokens\" : 1 , \"completion_tokens\":\n2\n}\n}\n"),
        tokens(1, 2, 0, 0)
    );
}

#[test]
fn the_last_chunk_of_a_stream_tells() {
    let (usage, content) = events(STREAM);
    assert_eq!(usage, tokens(3, 2, 0, 0));
    assert_eq!((content.pieces, content.bytes), (2, 11));
}

#[test]
fn the_last_of_many_chunks_with_usage_counts() {
    let chunk = |n: u32| {
        format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{n}}}}}\n\n"
        )
    };
    assert_eq!(events(&(chunk(1) + &chunk(2))).0, tokens(1, 2, 0, 0));
}

#[test]
fn a_streamed_response_tells_in_its_last_event() {
    let response = RESPONSE.replace("\"text\":\"hi\"", "\"text\":\"hi there\"");
    let text = format!(
        "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"tools\":[{{\"parameters\":{{\"usage\":{{\"input_tokens\":7}}}}}}],\"usage\":null}}}}\n\n\
         event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"hi \"}}\n\n\
         event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"there\"}}\n\n\
         event: response.output_text.done\ndata: {{\"type\":\"response.output_text.done\",\"text\":\"hi there\"}}\n\n\
         event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n"
    );
    let (usage, content) = events(&text);
    assert_eq!(usage, tokens(36, 87, 3, 64));
    assert_eq!((content.pieces, content.bytes), (2, 8));
}

#[test]
fn only_the_outermost_usage_counts() {
    let inner = r#"{"tools":[{"parameters":{"usage":{"prompt_tokens":1,"completion_tokens":1}}}]}"#;
    assert_eq!(body(inner), None);
    assert_eq!(events(&format!("data: {inner}\n\n")).0, None);
    let both = r#"{"usage":{"prompt_tokens":5,"completion_tokens":6},"x":[{"usage":{"prompt_tokens":1}}]}"#;
    assert_eq!(body(both), tokens(5, 6, 0, 0));
    // Ignored in a body one level deeper, but not in an event.
    let deeper = r#"{"response":{"usage":{"prompt_tokens":5,"completion_tokens":6}}}"#;
    assert_eq!(body(deeper), None);
    assert_eq!(events(&format!("data: {deeper}\n\n")).0, tokens(5, 6, 0, 0));
}

#[test]
fn what_is_no_count_of_tokens_is_not_one() {
    for value in [
        "null",
        "{}",
        "[]",
        "\"x\"",
        "{\"prompt_tokens\":null}",
        "{\"prompt_tokens\":-1}",
        "{\"prompt_tokens\":1.5}",
        "{\"prompt_tokens\":\"1\"}",
        "{\"type\":\"duration\",\"seconds\":3}",
        "{\"x\":{\"prompt_tokens\":1}}",
    ] {
        assert_eq!(body(&format!("{{\"usage\":{value}}}")), None, "{value}");
    }
}

#[test]
fn a_body_that_was_cut_tells_nothing() {
    let text = r#"{"tools":[{"parameters":{"usage":{"prompt_tokens":1}}"#;
    let mut scanner = UsageScanner::new(false);
    scanner.feed(text.as_bytes());
    assert_eq!(scanner.finish(false), None);
}

#[test]
fn huge_numbers_do_not_wrap() {
    let text = format!(r#"{{"usage":{{"prompt_tokens":{}}}}}"#, "9".repeat(60));
    assert_eq!(body(&text), None, "it is beyond all bounds");
}

#[test]
fn estimates_count_short_pieces_and_weigh_long_ones() {
    let short = SeenText {
        pieces: 10,
        bytes: 45,
    };
    assert_eq!((short.estimated(true), short.estimated(false)), (10, 12));
    let long = SeenText {
        pieces: 10,
        bytes: 400,
    };
    assert_eq!(long.estimated(true), 100);
    let used = Used::estimated(9, 5);
    assert_eq!((used.tokens.prompt, used.tokens.completion), (3, 5));
    assert_eq!(used.source, Source::Estimated);
    assert_eq!(Used::estimated(0, 0), Used::default(), "unknown");
}

/// How much longer one long line takes than the same bytes in short lines.
pub(super) fn slowdown(pieces: impl Fn(bool), rounds: u32) -> f64 {
    let time = |long| {
        let times = (0..rounds).map(|_| {
            let start = std::time::Instant::now();
            pieces(long);
            start.elapsed()
        });
        times.min().unwrap_or_default().as_secs_f64()
    };
    time(true) / time(false)
}

#[test]
fn the_time_for_a_line_is_linear_in_its_length() {
    let line = |fields: usize| r#""text":1,"#.repeat(fields) + "\n";
    let (long, short) = (line(60_000), line(10).repeat(6_000));
    let slowdown = slowdown(
        |is_long| {
            let text = if is_long { &long } else { &short };
            assert_eq!(events(text).0, None);
        },
        3,
    );
    assert!(slowdown < 10.0, "{slowdown}");
}

#[test]
fn the_length_of_text_includes_backslashes() {
    for text in [r"\n", r"\\", r"a\u00e9b", r#"\""#, "plain"] {
        let line = format!("data: {{\"delta\":{{\"content\":\"{text}\"}}}}\n\n");
        let whole = events(&line).1;
        assert_eq!(
            (whole.pieces, whole.bytes),
            (1, text.len() as u64),
            "{text}"
        );
        let bytes: Vec<&[u8]> = line.as_bytes().chunks(1).collect();
        assert_eq!(scan(true, &bytes).1, whole, "{text}");
    }
}

/// Random nested values with the relevant keys.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u32>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        "[a-z\"\\\\ \n{}:,]{0,12}".prop_map(Value::from),
        Just(json!("usage")),
    ];
    let key = prop_oneof![
        Just("usage"),
        Just("prompt_tokens"),
        Just("output_tokens"),
        Just("total_tokens"),
        Just("prompt_tokens_details"),
        Just("cached_tokens"),
        Just("content"),
        Just("delta"),
        Just("reasoning_content"),
        Just("choices"),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                let pairs = pairs
                    .into_iter()
                    .map(|(key, value)| (key.to_string(), value));
                Value::Object(pairs.collect())
            }),
        ]
    })
}

fn oracle(usage: &Value) -> Option<Tokens> {
    let number = |at: &str| usage.pointer(at).and_then(Value::as_u64);
    let prompt = number("/prompt_tokens");
    let completion = number("/output_tokens");
    let total = number("/total_tokens").map(|t| t.saturating_sub(completion.unwrap_or(0)));
    usage.as_object()?;
    prompt.or(completion).or(total)?;
    let prompt = prompt.or(total).unwrap_or(0);
    let cached = number("/prompt_tokens_details/cached_tokens").unwrap_or(0);
    tokens(prompt, completion.unwrap_or(0), cached.min(prompt), 0).filter(Tokens::is_plausible)
}

proptest! {
    #[test]
    fn finds_what_a_parser_finds(document in documents()) {
        let text = document.to_string();
        prop_assert_eq!(body(&text), document.get("usage").and_then(oracle));
    }

    #[test]
    fn every_split_gives_the_same(
        documents in prop::collection::vec(documents(), 1..4),
        stream in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let text: String = documents.iter().map(|d| format!("data: {d}\n\n")).collect();
        let whole = scan(stream, &[text.as_bytes()]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
        prop_assert_eq!(scan(stream, &pieces), whole);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(scan(stream, &bytes), whole);
    }

    /// A line like an earlier one is not searched if it is in one piece; single bytes always are.
    #[test]
    fn events_that_are_alike_are_read_as_those_that_are_not(
        lines in prop::collection::vec(documents().prop_map(|d| format!("data: {d}\n")), 1..3),
        events in prop::collection::vec((0..8_usize, "[a-c\"\\\\ ]{0,3}"), 1..16),
    ) {
        let text: String = events.into_iter().map(|(kind, text)| {
            let text = json!(text);
            match kind {
                0 | 1 => format!("data: {{\"delta\":{{\"content\":{text}}},\"usage\":null}}\n\n"),
                2 => format!("data: {{\"delta\":{{\"content\":{text}}},\"usage\":{{\"input_tokens\":3}}}}\n\n"),
                3 => format!("data: {{\"text\":{text}}}\r\n\r\n"),
                4 => format!("event: delta\ndata: {{\"delta\":{text},\"text\":\"\"}}\n\n"),
                5 => format!("data: {{\"content\":{text},\"refusal\":\"a\"}}\n\n"),
                6 => "data: {\"content\":\"cut off\n".to_owned(),
                _ => lines[text.to_string().len() % lines.len()].clone(),
            }
        }).collect();
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(scan(true, &[text.as_bytes()]), scan(true, &single));
        let halves = text.as_bytes().split_at(text.len() / 2);
        prop_assert_eq!(scan(true, &[halves.0, halves.1]), scan(true, &single));
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(
        prop_oneof![
            Just(b"\"usage\":{".to_vec()), Just(b"\"content\":\"".to_vec()),
            Just(b"}}}]]".to_vec()), Just(b"\n".to_vec()), Just(b"\"prompt_tokens\":".to_vec()),
            Just(b"99999999999999999999".to_vec()), any::<Vec<u8>>(),
        ], 0..20), stream in any::<bool>()) {
        let bytes = bytes.concat();
        let whole = scan(stream, &[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(scan(stream, &single), whole);
    }
}

#[test]
fn numbers_that_cannot_be_are_passed_over() {
    let read = |prompt: u64, completion: u64, stream: bool| {
        let usage =
            format!("\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion}}}");
        let text = if stream {
            format!("data: {{{usage}}}\n\n")
        } else {
            format!("{{{usage}}}")
        };
        let mut scanner = UsageScanner::new(stream);
        scanner.feed(text.as_bytes());
        let found = scanner.finish(true).map(|t| (t.prompt, t.completion));
        (found, scanner.is_implausible())
    };
    for stream in [false, true] {
        let most = MOST_TOKENS;
        assert_eq!(read(most, most, stream), (Some((most, most)), false));
        for (prompt, completion) in [(most + 1, 0), (3, most + 1), (u64::MAX, u64::MAX)] {
            assert_eq!(read(prompt, completion, stream), (None, true));
        }
    }
    let mut scanner = UsageScanner::new(false);
    scanner.feed(br#"{"usage":{"total_tokens":18446744073709551615}}"#);
    assert_eq!(
        (scanner.finish(true), scanner.is_implausible()),
        (None, true)
    );
}
