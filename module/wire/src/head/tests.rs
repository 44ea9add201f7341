use super::{
    Captured, Field, Head, HeadError, HeadScanner, MAX_DEPTH, MAX_MODEL, MAX_USER, Options,
};

const CHAT: &str = r#"
{
  "model": "gpt-4o \"\u00e9\ud83d\ude00\"",
  "messages": [
    {"role": "user", "content": "a \\ \"quoted\" line\n", "model": "no", "stream": false},
    {"n": [-0, 1.5e+3, 0.25E-1, 10, true, false, null, {}, [], ""]}
  ],
  "stream" : true,
  "stream_options": {"x": {"include_usage": false}, "include_usage": true},
  "metadata": {"user": "no", "include_usage": false},
  "user": "labeling-service"
}
"#;

/// The fields of a body, without positions.
fn scan(body: impl AsRef<[u8]>) -> Result<Head, HeadError> {
    scan_all(body).map(|head| Head {
        options: Options::Absent,
        end_at: 0,
        prompt_bytes: 0,
        ..head
    })
}

fn scan_all(body: impl AsRef<[u8]>) -> Result<Head, HeadError> {
    let mut scanner = HeadScanner::new();
    scanner.feed(body.as_ref());
    scanner.finish()
}

fn head(body: impl AsRef<[u8]>) -> Head {
    scan(body).expect("a head")
}

fn malformed<T>(offset: usize) -> Result<T, HeadError> {
    Err(HeadError::Malformed {
        offset: offset as u64,
    })
}

#[test]
fn finds_the_fields_of_the_top_level() {
    let head = head(CHAT);
    assert_eq!(head.model.as_str(), Some("gpt-4o \"é😀\""));
    assert_eq!(head.stream, Some(true));
    assert_eq!(head.include_usage, Some(true));
    assert_eq!(head.user.as_str(), Some("labeling-service"));
    assert_eq!(head.wrong_kind, None);
}

#[test]
fn overlooks_the_fields_of_nested_objects() {
    for body in [
        r#"{"a":{"model":"m","stream":true,"user":"u"}}"#,
        r#"{"a":[{"model":"m","stream":true,"user":"u"}]}"#,
        r#"{"include_usage":true}"#,
        r#"{"a":{"include_usage":true}}"#,
        r#"{"stream_options":{"a":{"include_usage":true},"stream":true,"model":"m"}}"#,
        r#"{"stream_options":{"a":[{"include_usage":true}]}}"#,
        r#"{"stream_options":{},"a":{"include_usage":true}}"#,
        r#"{"a":"model","b":"stream"}"#,
        r#"{"Model":"m","models":"m","mode":"m","":"m"}"#,
    ] {
        assert_eq!(scan(body), Ok(Head::default()), "{body}");
    }
}

#[test]
fn false_differs_from_absent() {
    let head = head(r#"{"stream":false,"stream_options":{"include_usage":false}}"#);
    assert_eq!(
        (head.stream, head.include_usage),
        (Some(false), Some(false))
    );
    let head = self::head("{}");
    assert_eq!((head.stream, head.include_usage), (None, None));
}

#[test]
fn takes_null_for_absent() {
    for body in [
        r#"{"model":null,"stream":null,"stream_options":null,"user":null}"#,
        r#"{"stream_options":{"include_usage":null}}"#,
        r#"{"model":"m","model":null,"stream":true,"stream":null}"#,
    ] {
        assert_eq!(scan(body), Ok(Head::default()), "{body}");
    }
}

#[test]
fn the_last_of_equal_keys_counts() {
    let head = head(r#"{"model":"a","stream":true,"model":"b","stream":false}"#);
    assert_eq!((head.model.as_str(), head.stream), (Some("b"), Some(false)));
    let head = self::head(
        r#"{"stream_options":{"include_usage":true},"stream_options":{"include_usage":false}}"#,
    );
    assert_eq!(head.include_usage, Some(false));
    for later in ["{}", "null"] {
        let body =
            format!(r#"{{"stream_options":{{"include_usage":true}},"stream_options":{later}}}"#);
        assert_eq!(scan(body), Ok(Head::default()));
    }
    let head = self::head(r#"{"stream":"yes","stream":true,"model":"m","model":7}"#);
    assert_eq!((head.stream, head.model), (Some(true), Captured::Absent));
    assert_eq!(head.wrong_kind, Some(Field::Model));
}

#[test]
fn decodes_escapes() {
    for (body, model) in [
        (r#"{"mod\u0065l":"m"}"#, "m"),
        (r#"{"model":"\"\\\/\b\f\n\r\t"}"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (
            r#"{"model":"\u0041\u00DF\u6771\ud834\udd1e"}"#,
            "A\u{df}\u{6771}\u{1d11e}",
        ),
        (
            r#"{"model":"\ud800\udc00\udbff\udfff"}"#,
            "\u{10000}\u{10ffff}",
        ),
        (r#"{"model":"\ud834"}"#, "\u{fffd}"),
        (
            r#"{"model":"\ud834x\ud834\n\udd1e"}"#,
            "\u{fffd}x\u{fffd}\n\u{fffd}",
        ),
        (
            r#"{"model":"\ud834\ud834\udd1e\u0041"}"#,
            "\u{fffd}\u{1d11e}A",
        ),
        (r#"{"model":""}"#, ""),
    ] {
        assert_eq!(head(body).model.as_str(), Some(model), "{body}");
    }
}

#[test]
fn reads_what_is_no_unicode_as_replacement_characters() {
    assert_eq!(
        head(b"{\"user\":\"a\xFFb\xE6\x9D\"}").user.as_str(),
        Some("a\u{fffd}b\u{fffd}")
    );
    assert_eq!(scan(b"{\"a\":\"\xFF\xC0\"}"), Ok(Head::default()));
}

#[test]
fn keeps_text_up_to_its_limit() {
    let body = |model: &str, user: &str| format!(r#"{{"model":"{model}","user":"{user}"}}"#);
    let (model, user) = ("m".repeat(MAX_MODEL), "u".repeat(MAX_USER));
    let kept = head(body(&model, &user));
    assert_eq!(kept.model.as_str(), Some(&*model));
    assert_eq!(kept.user.as_str(), Some(&*user));
    let long = head(body(&format!("{model}m"), &format!("{user}u")));
    assert_eq!(
        (&long.model, &long.user),
        (&Captured::TooLong, &Captured::TooLong)
    );
    assert_eq!(long.wrong_kind, None);
    let huge = head(body(&model.repeat(1000), &user));
    assert_eq!(
        (huge.model, huge.user.as_str()),
        (Captured::TooLong, Some(&*user))
    );
    // The limit applies to the decoded text.
    let escaped = head(body(&"\\u006d".repeat(MAX_MODEL), ""));
    assert_eq!(escaped.model.as_str(), Some(&*model));
    let mut stray = b"{\"model\":\"".to_vec();
    stray.resize(stray.len() + MAX_MODEL, 0xFF);
    stray.extend_from_slice(b"\"}");
    assert_eq!(head(stray).model, Captured::TooLong);
}

#[test]
fn returns_the_position_of_the_model() {
    for (body, lies) in [
        (r#"{"model":"gpt-4o"}"#, Some(r#""gpt-4o""#)),
        (r#"{"a":{"model":"x"},"model" : "" }"#, Some(r#""""#)),
        (
            r#"{"mod\u0065l":"a \"\u00e9\\"}"#,
            Some(r#""a \"\u00e9\\""#),
        ),
        (r#"{"model":"first","model":"last"}"#, Some(r#""last""#)),
        (r#"{"model":"first","model":null}"#, None),
        (r#"{"model":"first","model":7}"#, None),
        (r#"{"user":"u"}"#, None),
    ] {
        for cut in 0..=body.len() {
            let mut scanner = HeadScanner::new();
            scanner.feed(&body.as_bytes()[..cut]);
            scanner.feed(&body.as_bytes()[cut..]);
            let at = scanner.finish().expect("a head").model_at;
            let found = at.map(|at| &body[at.start as usize..at.end as usize]);
            assert_eq!(found, lies, "{body} cut at {cut}");
        }
    }
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(MAX_MODEL + 1));
    assert_eq!(head(&long).model_at, Some(9..long.len() as u64 - 1));
}

#[test]
fn counts_what_bounds_the_answer() {
    for (body, max_tokens, choices) in [
        (r#"{"max_tokens":64,"n":2}"#, Some(64), Some(2)),
        (r#"{"max_completion_tokens":7}"#, Some(7), None),
        (r#"{"max_output_tokens": 0 }"#, Some(0), None),
        (
            r#"{"max_tokens":4294967295,"n":4294967296}"#,
            Some(u32::MAX),
            None,
        ),
        (r#"{"max_tokens":1,"max_output_tokens":2}"#, Some(2), None),
        (r#"{"max_tokens":1,"max_tokens":null}"#, Some(1), None),
        (r#"{"max_tokens":1.0,"n":1e3}"#, None, None),
        (r#"{"max_tokens":-1,"n":"3"}"#, None, None),
        (r#"{"a":{"max_tokens":1},"b":[{"n":1}]}"#, None, None),
        (r#"{"stream_options":{"n":1},"n":5}"#, None, Some(5)),
        (r#"{"n":[5]}"#, None, None),
    ] {
        for cut in 0..=body.len() {
            let mut scanner = HeadScanner::new();
            scanner.feed(&body.as_bytes()[..cut]);
            scanner.feed(&body.as_bytes()[cut..]);
            let head = scanner.finish().expect("a head");
            assert_eq!(
                (head.max_tokens, head.choices),
                (max_tokens, choices),
                "{body}"
            );
            assert_eq!(head.wrong_kind, None, "{body}");
        }
    }
}

#[test]
fn names_a_field_of_the_wrong_kind() {
    for (body, field) in [
        (r#"{"model":7}"#, Field::Model),
        (r#"{"model":{"model":"m"}}"#, Field::Model),
        (r#"{"model":["m"]}"#, Field::Model),
        (r#"{"stream":"yes"}"#, Field::Stream),
        (r#"{"stream":1}"#, Field::Stream),
        (r#"{"stream":{}}"#, Field::Stream),
        (r#"{"stream_options":true}"#, Field::StreamOptions),
        (
            r#"{"stream_options":[{"include_usage":true}]}"#,
            Field::StreamOptions,
        ),
        (
            r#"{"stream_options":{"include_usage":"true"}}"#,
            Field::IncludeUsage,
        ),
        (r#"{"user":false}"#, Field::User),
        (r#"{"user":1,"stream":0,"model":"m"}"#, Field::Stream),
    ] {
        let head = head(body);
        assert_eq!(head.wrong_kind, Some(field), "{body}");
        assert_eq!((head.stream, head.include_usage), (None, None), "{body}");
    }
    let head = head(r#"{"model":"m","stream":[],"user":"u"}"#);
    assert_eq!(
        (head.model.as_str(), head.user.as_str()),
        (Some("m"), Some("u"))
    );
}

#[test]
fn accepts_what_the_grammar_allows() {
    for body in [
        " \t\r\n{ } \t\r\n",
        r#"{"":0}"#,
        r#"{"a":-0.0e-0,"b":1E5,"c":[[],[{}]],"d":123456789012345678901234567890}"#,
        "{\"a\":\"raw \t control \u{1} characters\"}",
        r#"{"a":"/ \/ DEL "}"#,
    ] {
        assert_eq!(scan(body), Ok(Head::default()), "{body}");
    }
}

#[test]
fn refuses_what_the_grammar_does_not_allow() {
    for (body, offset) in [
        ("", 0),
        ("  ", 2),
        ("[]]", 2),
        ("[] 1", 3),
        ("1,2", 1),
        ("1 2", 2),
        ("\"a\"b", 3),
        ("nul", 3),
        ("-", 1),
        ("1.", 2),
        ("\"a", 2),
        ("[", 1),
        ("[{}", 3),
        ("\u{feff}{}", 0),
        ("{}}", 2),
        ("{} {}", 3),
        ("{},", 2),
        (r#"{"a"}"#, 4),
        (r#"{"a":}"#, 5),
        (r#"{"a":1,}"#, 7),
        (r#"{,"a":1}"#, 1),
        (r#"{"a":1 "b":2}"#, 7),
        (r#"{"a"::1}"#, 5),
        (r#"{a:1}"#, 1),
        (r#"{'a':1}"#, 1),
        (r#"{1:1}"#, 1),
        (r#"{"a":[1,]}"#, 8),
        (r#"{"a":[,1]}"#, 6),
        (r#"{"a":[1 2]}"#, 8),
        (r#"{"a":[1}"#, 7),
        (r#"{"a":{]}"#, 6),
        (r#"{"a":[{},[1}]}"#, 11),
        (r#"{"a":{"b":1]}"#, 11),
        (r#"{"a":01}"#, 6),
        (r#"{"a":-01}"#, 7),
        (r#"{"a":+1}"#, 5),
        (r#"{"a":-}"#, 6),
        (r#"{"a":.5}"#, 5),
        (r#"{"a":1.}"#, 7),
        (r#"{"a":1e}"#, 7),
        (r#"{"a":1e+}"#, 8),
        (r#"{"a":1.5.5}"#, 8),
        (r#"{"a":0x1}"#, 6),
        (r#"{"a":True}"#, 5),
        (r#"{"a":tru}"#, 8),
        (r#"{"a":nul1}"#, 8),
        (r#"{"a":falsey}"#, 10),
        (r#"{"a":NaN}"#, 5),
        (r#"{"a":"\x"}"#, 7),
        (r#"{"a":"\u12g4"}"#, 10),
        (r#"{"model":"\u"}"#, 12),
        (r#"{"a":1/*b*/}"#, 6),
        (r#"{"a":"b}"#, 8),
    ] {
        assert_eq!(scan(body), malformed(offset), "{body}");
    }
}

#[test]
fn other_json_differs_from_invalid_json() {
    for body in [
        "[]",
        " [{\"model\":7}] ",
        "null",
        "true\n",
        "17",
        "-0.5e1 ",
        "\"text\"",
        "\"\\u00e9\"",
    ] {
        assert_eq!(scan(body), Err(HeadError::NotAnObject), "{body}");
    }
}

#[test]
fn does_not_care_where_the_body_is_cut() {
    let whole = scan_all(CHAT);
    let body = CHAT.as_bytes();
    for cut in 0..=body.len() {
        let mut scanner = HeadScanner::new();
        scanner.feed(&body[..cut]);
        scanner.feed(&[]);
        scanner.feed(&body[cut..]);
        assert_eq!(scanner.finish(), whole, "cut at {cut}");
    }
    let mut scanner = HeadScanner::new();
    body.chunks(1).for_each(|byte| scanner.feed(byte));
    assert_eq!(scanner.finish(), whole);
}

#[test]
fn refuses_every_truncated_body() {
    let body = CHAT.trim_end().as_bytes();
    for cut in 0..body.len() {
        assert_eq!(scan(&body[..cut]), malformed(cut));
    }
    assert_eq!(scan(body), scan(CHAT));
}

#[test]
fn the_first_mistake_is_the_one_reported() {
    let mut scanner = HeadScanner::new();
    scanner.feed(b"{\"a\":");
    scanner.feed(b"1,]");
    scanner.feed(b"\"b\":2}");
    scanner.feed(b"{}");
    assert_eq!(scanner.finish(), malformed(7));
}

#[test]
fn bounds_the_nesting() {
    let nest = |levels: usize, open: &str, close: &str| {
        format!("{{\"a\":{}0{}}}", open.repeat(levels), close.repeat(levels))
    };
    for (open, close) in [("[", "]"), ("{\"k\":", "}")] {
        assert_eq!(scan(nest(MAX_DEPTH - 1, open, close)), Ok(Head::default()));
        let offset = (5 + (MAX_DEPTH - 1) * open.len()) as u64;
        let deep = nest(MAX_DEPTH, open, close);
        assert_eq!(scan(deep), Err(HeadError::TooDeep { offset }));
    }
    let bomb = nest(1_000_000, "[", "");
    assert!(matches!(scan(bomb), Err(HeadError::TooDeep { .. })));
}

#[test]
fn matches_brackets_at_every_depth() {
    let mut open = String::from("{\"a\":");
    let mut close = String::from("}");
    for level in 1..MAX_DEPTH {
        let (left, right) = if level % 3 == 0 {
            ("{\"k\":", '}')
        } else {
            ("[", ']')
        };
        open.push_str(left);
        close.insert(0, right);
    }
    assert_eq!(scan(format!("{open}0{close}")), Ok(Head::default()));
    for at in 0..close.len() {
        let mut wrong = close.clone().into_bytes();
        wrong[at] = if wrong[at] == b'}' { b']' } else { b'}' };
        let body = [open.as_bytes(), b"0", &wrong].concat();
        assert_eq!(scan(body), malformed(open.len() + 1 + at));
    }
}

#[test]
fn names_fields_as_openai_does() {
    assert_eq!(Field::IncludeUsage.param(), "stream_options.include_usage");
    assert_eq!(Field::Stream.param(), "stream");
}

/// A body as sent upstream when usage is requested for streams.
fn asking(body: &str) -> Option<String> {
    let (range, with) = scan_all(body).expect("a head").asking_for_usage()?;
    let (start, end) = (range.start as usize, range.end as usize);
    Some(format!("{}{with}{}", &body[..start], &body[end..]))
}

#[test]
fn streams_that_do_not_say_are_asked_for_their_usage() {
    for body in [
        r#"{"stream":true}"#,
        "{\"a\":{},\"stream\" : true \n} ",
        r#"{"stream":true,"stream_options":null,"n":1}"#,
        r#"{"stream_options":{},"stream":true}"#,
        r#"{"stream_options":{ },"stream":true}"#,
        r#"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
        r#"{"stream_options":{"a":{"include_usage":false}},"stream":true}"#,
    ] {
        let asking = asking(body).expect(body);
        let parsed: serde_json::Value = serde_json::from_str(&asking).expect(&asking);
        assert_eq!(parsed["stream_options"]["include_usage"], true, "{asking}");
        assert_eq!(asking.matches("stream_options").count(), 1, "{asking}");
        assert_eq!(head(&asking).include_usage, Some(true), "{asking}");
        let mut before: serde_json::Value = serde_json::from_str(body).expect(body);
        before["stream_options"]["include_usage"] = true.into();
        assert_eq!(parsed, before);
    }
}

#[test]
fn what_says_or_is_no_stream_is_left_as_it_is() {
    for body in [
        "{}",
        r#"{"stream":false}"#,
        r#"{"stream":null}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
        r#"{"stream":true,"stream_options":[]}"#,
    ] {
        assert_eq!(asking(body), None, "{body}");
    }
}

#[test]
fn measures_the_prompt() {
    for (body, bytes) in [
        (r#"{"messages":[{"a":1}],"n":1}"#, 9),
        (r#"{"input":"hello"}"#, 7),
        (r#"{"prompt":["a"]}"#, 5),
        (r#"{"x":{"messages":[1,2,3]}}"#, 0),
        ("{}", 0),
    ] {
        assert_eq!(
            scan_all(body).expect("a head").prompt_bytes,
            bytes,
            "{body}"
        );
    }
}
