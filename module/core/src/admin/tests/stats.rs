use proptest::prelude::*;
use serde_json::{Value, json};

use crate::admin::{Stats, StatsQuery};
use crate::metrics::{Counters, Day, StatsRow, StatsSums};

fn parse(query: &str) -> Result<StatsQuery, (u16, Value)> {
    StatsQuery::parse(query.as_bytes()).map_err(|problem| {
        let body: Value = serde_json::from_slice(&problem.body()).unwrap();
        (problem.status, body["error"]["param"].clone())
    })
}

#[test]
fn a_query_is_read() {
    assert_eq!(parse(""), Ok(StatsQuery::default()));
    assert_eq!(parse("&&verbose=1&"), Ok(StatsQuery::default()));
    let both = parse("since=2024-10-04T12%3A00%3A00%2B02:00&service=labeling%2Dservice").unwrap();
    assert_eq!(both.since, Day::parse("2024-10-04"));
    assert_eq!(both.service.as_deref(), Some("labeling-service"));
}

#[test]
fn a_wrong_query_is_explained() {
    let long = format!("service={}", "a".repeat(65));
    for (query, field) in [
        ("service=", "service"),
        ("service=a%20b", "service"),
        ("service=%FF%00", "service"),
        (&*long, "service"),
        ("service=a&service=a", "service"),
        ("since=", "since"),
        ("since", "since"),
        ("since=yesterday", "since"),
        ("since=2024-13-01", "since"),
        ("since=2024-10-04T12:00:00", "since"),
        ("since=2024-10-04&since=2024-10-04", "since"),
    ] {
        assert_eq!(parse(query), Err((422, field.into())), "{query}");
    }
}

#[test]
fn what_nobody_knows_is_null_and_never_nothing() {
    let line = |name: &str, cost, unpriced| StatsRow {
        name: name.into(),
        here: Counters {
            prompt: 10,
            cost,
            unpriced,
            ..Counters::default()
        },
        elsewhere: Counters::default(),
    };
    let figures = StatsSums {
        since: Day::parse("2024-10-04").unwrap(),
        services: vec![
            line("a", 0, 2),
            line("b", 1_500_000_000_000, 1),
            line("c", 0, 0),
        ],
        keys: vec![line("main/k1", 0, 0)],
        ..StatsSums::default()
    };
    let recent = StatsSums {
        services: vec![line("a", 500_000_000_000, 0), line("b", 0, 1)],
        ..StatsSums::default()
    };
    let answer = serde_json::to_value(Stats::of(&figures, &recent, None, String::new())).unwrap();
    let costs = answer["services"].as_array().unwrap().iter();
    let costs: Vec<_> = costs
        .map(|service| service["cost_dollars"].clone())
        .collect();
    assert_eq!(costs, [Value::Null, json!(1.5), json!(0.0)]);
    assert_eq!(answer["total"]["cost_dollars"], 1.5);
    assert_eq!(answer["total"]["unpriced_requests"], 3);
    assert_eq!(answer["total_cost"], 0.5);
    assert_eq!(
        (&answer["total_tokens"], &answer["request_count"]),
        (&json!(20), &json!(0))
    );
    assert_eq!(answer["keys"][0]["pool"], "main");
    assert_eq!(answer["keys"][0]["key_id"], "k1");
    assert_eq!(answer["since"], "2024-10-04");
    assert_eq!(answer["elsewhere"], Value::Null);
}

#[test]
fn a_service_sees_itself_only_even_if_there_is_nothing() {
    let answer = Stats::of(
        &StatsSums::default(),
        &StatsSums::default(),
        Some("app"),
        String::new(),
    );
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["services"][0]["service"], "app");
    assert_eq!(answer["services"][0]["requests"], 0);
    for hidden in ["models", "pools", "keys"] {
        assert_eq!(answer[hidden], Value::Null, "{hidden}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_upsets_it(query in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Err(problem) = StatsQuery::parse(&query) {
            prop_assert_eq!(problem.status, 422);
        }
    }
}
