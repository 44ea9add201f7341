use proptest::prelude::*;
use serde_json::{Value, json};

use crate::admin::{Acquire, Extend, LockContext, Problem, Release};
use crate::lease::MAX_CONTEXT;

fn acquire(body: Value) -> Result<Acquire, Problem> {
    Acquire::parse(body.to_string().as_bytes())
}

fn field(problem: &Problem) -> Value {
    let body: Value = serde_json::from_slice(&problem.body()).unwrap();
    body["error"]["param"].clone()
}

#[test]
fn a_body_says_what_is_wanted() {
    let asked = acquire(json!({"service_name": "s", "resource_type": "openai_api",
        "dimension": "d", "estimated_duration": 60.0, "request_id": "r", "priority": -3,
        "wait_ms": 5, "pool": "p", "more": "m", "ignored": [1]}));
    let asked = asked.unwrap();
    assert_eq!(
        (asked.service.as_str(), asked.request.as_deref()),
        ("s", Some("r"))
    );
    assert_eq!(
        (asked.duration_ms, asked.priority, asked.wait_ms),
        (60_000, Some(-3), 5)
    );
    assert_eq!(asked.pool.as_deref(), Some("p"));
    let context: Vec<_> = asked.context.fields.into_iter().collect();
    let expected = [("dimension", "d"), ("more", "m")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(
        (context, asked.context.truncated),
        (expected.to_vec(), false)
    );
}

#[test]
fn what_is_not_said_has_a_default() {
    let nulls = json!({"service_name": "s", "resource_type": null, "estimated_duration": null,
        "request_id": null, "priority": null, "wait_ms": null, "pool": null, "dimension": null});
    for body in [json!({"service_name": "s"}), nulls] {
        let asked = acquire(body).unwrap();
        assert_eq!((asked.duration_ms, asked.wait_ms), (300_000, 0));
        assert_eq!(
            (asked.priority, asked.request, asked.pool),
            (None, None, None)
        );
        assert_eq!(asked.context, LockContext::default());
    }
}

#[test]
fn numbers_are_whole_however_they_are_written() {
    for (text, expected) in [
        ("300", Ok(300_000)),
        ("3e2", Ok(300_000)),
        ("300.5", Err(422)),
        ("1e400", Err(400)),
        ("9223372036854775808", Err(422)),
        ("-0.0", Err(422)),
        ("true", Err(422)),
    ] {
        let body = format!("{{\"service_name\":\"s\",\"estimated_duration\":{text}}}");
        let read = Acquire::parse(body.as_bytes());
        assert_eq!(
            read.map(|a| a.duration_ms).map_err(|p| p.status),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_field_within_another_is_named_in_full() {
    let body = json!({"lock_id": "x", "service_name": "s",
                      "usage_stats": {"actual_duration": "long"}});
    let refused = Release::parse(body.to_string().as_bytes()).unwrap_err();
    assert_eq!(field(&refused), "usage_stats.actual_duration");
}

#[test]
fn an_error_is_shortened_and_has_no_key() {
    let release = |stats: Value| {
        let body = json!({"lock_id": "x", "service_name": "s", "usage_stats": stats});
        Release::parse(body.to_string().as_bytes())
    };
    let long = "\u{e4}".repeat(300);
    for (said, logged) in [
        ("timeout", "timeout"),
        (
            "Incorrect API key provided: sk-proj-Ab_9****xyz. See",
            "Incorrect API key provided: *** See",
        ),
        ("Incorrect key: sk-****wxyz", "Incorrect key: ***"),
        ("disk-full: SK-abc, sk_test", "disk-full: ***, ***"),
        ("AGE-SECRET-KEY-1ABC", "***"),
        ("redis://:hidden@host/0", "redis://***@host/0"),
        (&*long, &long[..256]),
    ] {
        let outcome = release(json!({"success": false, "error_message": said}))
            .unwrap()
            .outcome;
        assert_eq!(outcome.error.as_deref(), Some(logged));
        assert!(outcome.has_result() && outcome.failed());
    }
    let nothing =
        release(json!({"actual_duration": 3, "tokens_used": null, "error_message": null}));
    assert!(!nothing.unwrap().outcome.has_result());
    let most = release(json!({"tokens_used": 100_000_000})).unwrap();
    assert_eq!(most.outcome.tokens, Some(100_000_000));
    let refused = release(json!({"tokens_used": 100_000_001})).unwrap_err();
    assert_eq!(
        (refused.status, field(&refused)),
        (422, "usage_stats.tokens_used".into())
    );
}

#[test]
fn context_keeps_to_its_room() {
    let fields = (0..100).map(|at| (format!("{at:060}"), json!("\u{1}".repeat(100))));
    let context = LockContext::of(&fields.collect());
    assert!(context.truncated && !context.fields.is_empty());
    assert!(context.to_text().len() <= MAX_CONTEXT);
    assert_eq!(LockContext::from_text(&context.to_text()), context);
}

proptest! {
    /// For every input there is a response and no panic, and every 4xx has a JSON body.
    #[test]
    fn any_bytes_are_judged(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for refused in [
            Acquire::parse(&body).err(),
            Release::parse(&body).err(),
            Extend::parse(&body).err(),
        ].into_iter().flatten() {
            prop_assert!([400, 422].contains(&refused.status));
            let json: Value = serde_json::from_slice(&refused.body()).unwrap();
            prop_assert!(json["error"]["message"].is_string());
        }
    }

    #[test]
    fn any_context_fits(texts in proptest::collection::btree_map(".{0,80}", ".{0,400}", 0..40)) {
        let fields = texts.into_iter().map(|(name, text)| (name, Value::String(text)));
        let context = LockContext::of(&fields.collect());
        prop_assert!(context.to_text().len() <= MAX_CONTEXT);
        prop_assert_eq!(LockContext::from_text(&context.to_text()), context);
    }
}
