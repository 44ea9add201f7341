use openai_wire::head::{Captured, HeadScanner, MAX_MODEL};
use proptest::prelude::*;

use super::{RouteError, RouteLines, Routes};

fn read(lines: &[&str]) -> Result<Routes, RouteError> {
    let mut block = RouteLines::default();
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        block.read(words[0], &words[1..])?;
    }
    block.finish()
}

fn routes(lines: &[&str]) -> Routes {
    read(lines).expect("sound lines")
}

/// A model as a request contains it.
fn named(model: &str) -> Captured<MAX_MODEL> {
    let body = serde_json::json!({ "model": model }).to_string();
    let mut scanner = HeadScanner::new();
    scanner.feed(body.as_bytes());
    scanner.finish().expect("a head").model
}

/// The route of a model: the pattern and the targets.
fn found(routes: &Routes, model: &str) -> Option<(String, String)> {
    let routed = routes.find(&named(model))?;
    let targets = &routes.lists()[routed.list];
    let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
    let pattern = routes.pattern(routed).unwrap_or_default();
    Some((pattern.to_owned(), targets.join(" ")))
}

#[track_caller]
fn assert_found(routes: &Routes, model: &str, pattern: &str, targets: &str) {
    let expected = (pattern.to_owned(), targets.to_owned());
    assert_eq!(found(routes, model), Some(expected), "{model}");
}

#[test]
fn names_come_before_prefixes_and_those_before_expressions() {
    let routes = routes(&[
        "model ~^gpt to=regex",
        "model ~mini$ to=later",
        "model gpt-* to=short",
        "model gpt-4o* to=long",
        "model gpt-4o gpt-5 to=exact",
        "model ~*^CLAUDE to=anthropic",
    ]);
    assert_found(&routes, "gpt-4o", "gpt-4o", "exact");
    assert_found(&routes, "gpt-5", "gpt-5", "exact");
    assert_found(&routes, "gpt-4o-mini", "gpt-4o*", "long");
    assert_found(&routes, "gpt-4", "gpt-*", "short");
    assert_found(&routes, "gpt-", "gpt-*", "short");
    assert_found(&routes, "gpt", "~^gpt", "regex");
    assert_found(&routes, "gptmini", "~^gpt", "regex");
    assert_found(&routes, "o4-mini", "~mini$", "later");
    assert_found(&routes, "claude-4", "~*^CLAUDE", "anthropic");
    for nobodys in ["", "GPT-4o", "gp", "o4-mini-high"] {
        assert_eq!(found(&routes, nobodys), None, "{nobodys}");
    }
}

#[test]
fn a_star_alone_is_any_model() {
    let routes = routes(&["model * to=local@vllm", "model gpt-* to=main"]);
    assert_found(&routes, "llama", "*", "local@vllm");
    assert_found(&routes, "", "*", "local@vllm");
    assert_found(&routes, "gpt-4", "gpt-*", "main");
}

#[test]
fn a_name_that_is_too_long_matches_a_star_alone() {
    let long = "a".repeat(MAX_MODEL + 1);
    let lines = [
        "model a* ~a to=first",
        "model * to=any",
        "otherwise to=other",
    ];
    assert_found(&routes(&lines), &long, "*", "any");
    assert_found(&routes(&lines[1..2]), &long, "*", "any");
    let without = routes(&[lines[0], lines[2]]);
    assert_found(&without, &long, "otherwise", "other");
    assert_eq!(found(&routes(&lines[..1]), &long), None);
}

#[test]
fn without_a_model_otherwise_or_the_first_targets_serve() {
    let lines = ["model ~x to=first", "model a to=second", "alias b a"];
    let of = |routes: &Routes, model| routes.find(&model).map(|routed| routed.list);
    let without = routes(&lines);
    assert_eq!(of(&without, Captured::Absent), Some(0));
    assert_eq!(of(&without, Captured::TooLong), None);
    assert_eq!(of(&without, named("y")), None);
    let with = routes(&[&lines[..], &["otherwise to=rest to=last@far"]].concat());
    assert_eq!(of(&with, Captured::Absent), Some(2));
    assert_eq!(of(&with, Captured::TooLong), Some(2));
    assert_found(&with, "y", "otherwise", "rest last@far");
    assert_found(&with, "b", "a", "second");
}

#[test]
fn an_alias_leads_to_its_models_route_and_no_further() {
    let routes = routes(&[
        "alias fast gpt-4o-mini",
        "alias smart o3 restore",
        "model gpt-* to=main@openai to=backup@azure",
        "model fast o3 to=other",
    ]);
    let alias = |model| {
        let routed = routes.find(&named(model))?;
        let alias = routes.alias(routed)?;
        Some((alias.model.clone(), alias.restore))
    };
    assert_found(&routes, "fast", "gpt-*", "main@openai backup@azure");
    assert_eq!(alias("fast"), Some(("gpt-4o-mini".to_owned(), false)));
    assert_found(&routes, "smart", "o3", "other");
    assert_eq!(alias("smart"), Some(("o3".to_owned(), true)));
    assert_eq!(alias("gpt-4o-mini"), None);
    assert_eq!(alias("o3"), None);
}

#[test]
fn mistakes_are_reported() {
    for (lines, says) in [
        (&["modal a to=x"][..], "unknown directive \"modal\""),
        (&["model"], "needs a pattern"),
        (&["model to=x"], "needs a pattern"),
        (&["model a"], "needs a target"),
        (&["model a to=x b"], "\"b\" is misplaced"),
        (&["model a to="], "invalid target \"\""),
        (&["model a to=@up"], "invalid target \"@up\""),
        (&["model a to=x@"], "invalid target \"x@\""),
        (&["model a to=x@u/v"], "invalid target \"x@u/v\""),
        (&["model a to=x@u to=x@u"], "\"x@u\" is a duplicate"),
        (&["model a to=x", "model b a to=y"], "\"a\" is a duplicate"),
        (&["model a*b to=x"], "invalid pattern \"a*b\""),
        (&["model ** to=x"], "invalid pattern \"**\""),
        (&["model ~( to=x"], "invalid regular expression \"(\""),
        (&["model ~a{9999}{9999} to=x"], "invalid regular expression"),
        (&["otherwise"], "needs a target"),
        (&["otherwise x"], "\"x\" is misplaced"),
        (&["otherwise to=x", "otherwise to=y"], "is a duplicate"),
        (&["otherwise to=x", "alias a"], "takes a name, a model"),
        (&["otherwise to=x", "alias a b c"], "takes a name, a model"),
        (
            &["otherwise to=x", "alias a b", "alias a c"],
            "\"a\" is a duplicate",
        ),
        (
            &["otherwise to=x", "alias a b", "alias b c"],
            "its model \"b\" is an alias itself",
        ),
        (
            &["model c to=x", "alias a b"],
            "no route serves its model \"b\"",
        ),
        (&["alias a b"], "has no \"model\""),
        (&[], "has no \"model\""),
    ] {
        let said = read(lines).expect_err("a mistake").to_string();
        assert!(said.contains(says), "{lines:?}: {said}");
        assert!(!said.contains('\n'), "{lines:?}: {said}");
    }
    let long = format!("alias {} b", "a".repeat(MAX_MODEL + 1));
    let said = read(&["otherwise to=x", &long]).expect_err("a long name");
    assert!(matches!(said, RouteError::Model(_)));
}

proptest! {
    #[test]
    fn the_longest_prefix_is_found(
        prefixes in prop::collection::btree_set("[ab]{0,5}", 1..12),
        names in prop::collection::vec("[abc]{0,7}", 1..20),
    ) {
        let lines: Vec<_> = prefixes.iter().map(|prefix| format!("model {prefix}* to={prefix}x")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let routes = routes(&lines);
        for name in names {
            let longest = prefixes.iter().filter(|prefix| name.starts_with(*prefix)).max_by_key(|prefix| prefix.len());
            let expected = longest.map(|prefix| (format!("{prefix}*"), format!("{prefix}x")));
            prop_assert_eq!(found(&routes, &name), expected);
        }
    }
}
