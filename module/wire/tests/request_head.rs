//! The request-head scanner against `serde_json`: random documents, cut at random points.

#[path = "../fuzz/checks/request_head.rs"]
mod check;

use check::{Reading, check, scan};
use openai_wire::head::HeadError;
use proptest::prelude::*;

static KEYS: [&str; 10] = [
    "model",
    "mod\\u0065l",
    "stream",
    "stream_options",
    "include_usage",
    "user",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
];

/// Whitespace or none.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

fn string() -> impl Strategy<Value = String> {
    r#""([ !#-\[\]-~]|\\["\\/bfnrt]|\\u[0-9a-cA-Ce-fE-F][0-9a-fA-F]{3}|\\ud83d\\ude0[0-9]|[é日😀]){0,20}""#
}

fn number() -> impl Strategy<Value = String> {
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?"
}

fn value() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["true", "false", "null"]).prop_map(String::from);
    prop_oneof![word, number(), string()].prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(spaced(inner.clone()), 0..6)
                .prop_map(|items| format!("[{}]", items.join(","))),
            object(inner),
        ]
    })
}

fn spaced(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (space(), inner, space()).prop_map(|(left, inner, right)| left + &inner + &right)
}

/// An object whose keys are often those of interest.
fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let known = prop::sample::select(KEYS.as_slice()).prop_map(|key| format!("\"{key}\""));
    let entry = (
        spaced(prop_oneof![2 => known, 1 => string()]),
        spaced(value),
    )
        .prop_map(|(key, value)| key + ":" + &value);
    (space(), prop::collection::vec(entry, 0..6)).prop_map(|(space, entries)| {
        if entries.is_empty() {
            format!("{{{space}}}")
        } else {
            format!("{{{}}}", entries.join(","))
        }
    })
}

/// A body: an object with known keys whose values often have the right type.
fn body() -> impl Strategy<Value = String> {
    let flag = prop::sample::select(vec!["true", "false", "null"]).prop_map(String::from);
    let options = object(flag.clone());
    let count = "0|[1-9][0-9]{0,10}";
    spaced(object(prop_oneof![value(), string(), flag, count, options]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_document_has_the_head_that_a_parser_finds(body in body()) {
        prop_assert_eq!(check(body.as_bytes()), Reading::Head);
    }

    #[test]
    fn cuts_change_nothing(
        body in body(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(scan(body.as_bytes(), cuts), scan(body.as_bytes(), []));
    }

    #[test]
    fn every_prefix_is_malformed_where_it_ends(body in body()) {
        let body = body.trim_end().as_bytes();
        for cut in 0..body.len() {
            let truncated = HeadError::Malformed { offset: cut as u64 };
            prop_assert_eq!(scan(&body[..cut], []), Err(truncated));
        }
    }

    #[test]
    fn a_stray_byte_is_judged_as_a_parser_does(
        body in body(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body = body.into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        check(&body);
    }

    #[test]
    fn any_bytes_will_do(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body);
    }
}
