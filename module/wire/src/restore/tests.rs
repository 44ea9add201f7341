use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Form, Part, Restorer};

const NAME: &str = r#""fa\"st""#;

/// Restores a response given in pieces that end at `cuts`.
fn restore(form: Form, body: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut restorer = Restorer::new(form);
    let (mut out, mut done) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&body.len()]) {
        let cut = cut.clamp(done, body.len());
        let piece = &body[done..cut];
        restorer.feed(piece, &mut |part| match part {
            Part::Keep(range) => out.extend_from_slice(&piece[range]),
            Part::Name => out.extend_from_slice(NAME.as_bytes()),
        });
        done = cut;
    }
    out
}

#[track_caller]
fn assert_restored(form: Form, body: &str, expected: &str) {
    let text = |out: Vec<u8>| String::from_utf8(out).expect("text");
    assert_eq!(text(restore(form, body.as_bytes(), &[])), expected);
    let everywhere: Vec<_> = (0..body.len()).collect();
    let out = restore(form, body.as_bytes(), &everywhere);
    assert_eq!(text(out), expected, "a byte at a time");
    for cut in 0..body.len() {
        let out = restore(form, body.as_bytes(), &[cut]);
        assert_eq!(text(out), expected, "cut at {cut}");
    }
}

#[test]
fn the_name_is_put_in_the_place_of_the_models() {
    for (body, expected) in [
        (r#"{"model":"gpt-4o-mini"}"#, r#"{"model":"fa\"st"}"#),
        (
            " {\r\n \"id\" : \"model\", \"model\" : \"a\\\"\\u00e9\\\\\" , \"n\":1 }\n",
            " {\r\n \"id\" : \"model\", \"model\" : \"fa\\\"st\" , \"n\":1 }\n",
        ),
        (
            r#"{"mod\u0065l":"","x":[]}"#,
            r#"{"mod\u0065l":"fa\"st","x":[]}"#,
        ),
        (
            r#"{"type":"response.created","response":{"id":"r","model":"m","a":{"model":"no"}},"model":"m"}"#,
            r#"{"type":"response.created","response":{"id":"r","model":"fa\"st","a":{"model":"no"}},"model":"fa\"st"}"#,
        ),
    ] {
        assert_restored(Form::Json, body, expected);
    }
}

#[test]
fn all_else_stays() {
    for body in [
        "",
        "{}",
        r#"{"a":{"model":"m"},"b":[{"model":"m"}],"model":null,"c":"model"}"#,
        r#"{"model":{"model":"m"}}"#,
        r#"{"model":["m"]}"#,
        r#"{"a":["model",":","m"],"response":["model","m"],"models":"m","":"m"}"#,
        r#"{"response":"model","a":{"response":{"model":"m"}}}"#,
        r#"[{"model":"m"}]"#,
        r#""model""#,
        r#"{"a":1} {"model":"m"}"#,
        r#"}{"model":"m"}"#,
        r#"{"a":"\x","model":"m"}"#,
        "<html>{\"model\":\"m\"}",
    ] {
        assert_restored(Form::Json, body, body);
    }
}

#[test]
fn every_event_is_a_document_of_its_own() {
    assert_restored(
        Form::Events,
        "event: a\ndata: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"\\n\\ndata: {\\\"model\\\":\\\"m\\\"}\"}}]}\n\n\
         data:{\"model\":\"m\"}\r\n\r\n: data: {\"model\":\"m\"}\r\rdata\n\
         data: {\"a\":\ndata: 1,\"model\":\ndata:  \"m\"}\n\n\
         datum: {\"model\":\"m\"}\n\ndata: {\"model\":\"cut\n\ndata: {\"model\":\"m\"}\n\ndata: [DONE]\n\n",
        "event: a\ndata: {\"model\":\"fa\\\"st\",\"choices\":[{\"delta\":{\"content\":\"\\n\\ndata: {\\\"model\\\":\\\"m\\\"}\"}}]}\n\n\
         data:{\"model\":\"fa\\\"st\"}\r\n\r\n: data: {\"model\":\"m\"}\r\rdata\n\
         data: {\"a\":\ndata: 1,\"model\":\ndata:  \"fa\\\"st\"}\n\n\
         datum: {\"model\":\"m\"}\n\ndata: {\"model\":\"fa\\\"st\"\n\ndata: {\"model\":\"fa\\\"st\"}\n\ndata: [DONE]\n\n",
    );
    let carriage_returns = "data: {\"a\":\r\ndata: 1,\"model\":\r\ndata: \"m\"}\r\n\r\n";
    let expected = carriage_returns.replace("\"m\"", NAME);
    assert_restored(Form::Events, carriage_returns, &expected);
}

#[test]
fn nothing_is_held_back() {
    let body = r#"data: {"id":"x","model":"gpt-4o","a":1}"#;
    let (start, end) = (24, 32);
    assert_eq!(&body[start..end], "\"gpt-4o\"");
    for cut in 0..body.len() {
        let expected = match cut {
            _ if cut <= start => body[..cut].to_owned(),
            _ => format!(
                "{}{NAME}{}",
                &body[..start],
                &body[end.min(cut.max(end))..cut.max(end)]
            ),
        };
        let out = restore(Form::Events, &body.as_bytes()[..cut], &[]);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{cut} bytes");
    }
}

/// Any JSON, with keys that are often those of interest.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("model".to_owned()), "[\\PC\"\\\\\n\r{}\\[\\]:,]{0,8}",]
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        2 => Just("model".to_owned()),
        2 => Just("response".to_owned()),
        3 => text(),
    ];
    prop::collection::btree_map(key, inner, 0..5)
        .prop_map(|entries| Value::Object(entries.into_iter().collect()))
}

/// The document that a parser must find after the restoration.
fn expected(mut document: Value) -> Value {
    let name: Value = serde_json::from_str(NAME).expect("a string");
    let replace = |object: &mut Value| {
        if let Some(model) = object.get_mut("model").filter(|model| model.is_string()) {
            *model = name.clone();
        }
    };
    replace(&mut document);
    if let Some(response) = document.get_mut("response") {
        replace(response);
    }
    document
}

fn written(document: &Value, pretty: bool) -> String {
    if pretty {
        serde_json::to_string_pretty(document)
    } else {
        serde_json::to_string(document)
    }
    .expect("JSON")
}

proptest! {
    #[test]
    fn a_parser_finds_the_name_wherever_the_answer_is_cut(
        document in object(value()),
        pretty: bool,
    ) {
        let body = written(&document, pretty).into_bytes();
        let wanted = expected(document);
        for cut in 0..=body.len() {
            let out = restore(Form::Json, &body, &[cut]);
            let found: Value = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(&found, &wanted, "cut at {}", cut);
        }
    }

    #[test]
    fn so_it_does_in_every_event(
        documents in prop::collection::vec(object(value()), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        end in prop::sample::select(vec!["\n\n", "\r\n\r\n", "\r\r"]),
    ) {
        let events: String = documents.iter().map(|document| format!("data: {}{end}", written(document, false))).collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(events.len() + 1)).collect();
        cuts.sort_unstable();
        let out = String::from_utf8(restore(Form::Events, events.as_bytes(), &cuts)).expect("text");
        let found: Vec<Value> = out
            .split(end)
            .filter_map(|event| event.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect();
        let wanted: Vec<Value> = documents.into_iter().map(expected).collect();
        prop_assert_eq!(json!(found), json!(wanted));
    }

    #[test]
    fn any_bytes_come_out_the_same_however_they_are_cut(
        body in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u00ed \n\rmodel".to_vec()), 0..80),
        start in prop::sample::select(vec!["", "{\"model\":", "data: {\"model\":\""]),
        form in prop::sample::select(vec![Form::Json, Form::Events]),
    ) {
        let body = [start.as_bytes(), &body].concat();
        let whole = restore(form, &body, &[]);
        for cut in 0..=body.len() {
            prop_assert_eq!(&restore(form, &body, &[cut]), &whole);
        }
    }
}
