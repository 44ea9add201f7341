//! The alert rules and the dashboard use metrics and labels that the gateway has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use regex::Regex;
use serde_json::Value;

use crate::code::{matches, metrics, root};
use crate::pages::Page;

fn read(file: &str) -> String {
    let path = root().join("nginx/observability").join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The expressions of the alert rules, by the names of the alerts.
fn alerts() -> BTreeMap<String, String> {
    let end = Regex::new(r"\n        [a-z]+:").expect("a pattern");
    let mut alerts = BTreeMap::new();
    for rule in read("alerts.yml").split("- alert: ").skip(1) {
        let (name, rest) = rule.split_once('\n').expect("a rule");
        let (_, expression) = rest.split_once("expr: ").expect("an expression");
        let end = end.find(expression).expect("more").start();
        alerts.insert(name.to_owned(), expression[..end].to_owned());
    }
    assert!(alerts.len() >= 15, "{} alerts", alerts.len());
    alerts
}

/// The expressions of the dashboard's panels and variables.
fn queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if name == "expr" || name == "definition" => {
                            found.push(text.to_owned());
                        }
                        _ => collect(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let dashboard = serde_json::from_str(&read("grafana.json")).expect("JSON");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    assert!(found.len() >= 25, "{} queries", found.len());
    found
}

/// The labels of each metric, as the reference has them.
fn labels() -> BTreeMap<String, BTreeSet<String>> {
    let page = Page::read("docs/reference/metrics.md");
    let rows = page.text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), matches(cells.get(3)?, "`([a-z_]+)`")))
    });
    rows.collect()
}

/// What of an expression is neither a metric, nor a label of one of its metrics, nor of PromQL.
fn unknown(expression: &str) -> Vec<String> {
    let (types, labels) = (metrics(), labels());
    let text = Regex::new(r#""[^"]*"|\[[^\]]*\]|\$[a-z_]+"#).expect("a pattern");
    let text = text.replace_all(expression, " ");
    let mut known: BTreeSet<String> = [
        "sum",
        "max",
        "count",
        "rate",
        "increase",
        "absent",
        "vector",
        "by",
        "on",
        "and",
        "or",
        "unless",
        "offset",
        "m",
        "max_over_time",
        "histogram_quantile",
        "label_values",
        "instance",
    ]
    .map(str::to_owned)
    .into();
    let words = matches(&text, r"\b([a-z_]+)\b");
    let mut metrics = 0;
    for word in &words {
        let family = word.strip_suffix("_bucket");
        let is_histogram =
            |family: &&str| types.get(*family).is_some_and(|kind| kind == "histogram");
        let name = match family.filter(is_histogram) {
            Some(family) => {
                known.insert("le".to_owned());
                family
            }
            None => word,
        };
        let is_plain = types.get(word).is_some_and(|kind| kind != "histogram");
        if is_plain || name != word {
            metrics += 1;
            known.insert(word.clone());
            known.extend(labels[name].iter().cloned());
        }
    }
    let mut unknown: Vec<String> = words.difference(&known).cloned().collect();
    if metrics == 0 {
        unknown.push("no metric".to_owned());
    }
    unknown
}

#[test]
fn alerts_use_metrics_and_labels_that_exist() {
    for (name, expression) in alerts() {
        assert_eq!(unknown(&expression), [""; 0], "{name}: {expression}");
    }
}

#[test]
fn the_dashboard_uses_metrics_and_labels_that_exist() {
    for query in queries() {
        assert_eq!(unknown(&query), [""; 0], "{query}");
    }
}

#[test]
fn unknown_names_are_found() {
    assert_eq!(
        unknown("rate(openai_gone_total[5m])"),
        ["openai_gone_total", "no metric"]
    );
    assert_eq!(unknown(r#"active_users{service="a"}"#), ["service"]);
    assert_eq!(
        unknown("openai_lease_hold_seconds"),
        ["openai_lease_hold_seconds", "no metric"]
    );
}

/// With its severity, in the guide.
#[test]
fn every_alert_is_documented() {
    let rules = read("alerts.yml");
    let rules = rules.split("- alert: ").skip(1).map(|rule| {
        let (name, rest) = rule.split_once('\n').expect("a rule");
        let (_, severity) = rest.split_once("severity: ").expect("a severity");
        let severity = severity.split(' ').next().unwrap_or_default();
        (name.to_owned(), severity.to_owned())
    });
    let rules: BTreeMap<String, String> = rules.collect();
    let page = Page::read("docs/guides/monitoring.md");
    for (name, severity) in &rules {
        let row = format!("| `{name}` | {severity} |");
        assert!(page.text.contains(&row), "no {row}");
    }
    let rows = matches(&page.text, r"(?m)^\| `(Openai[A-Za-z]+)` \|");
    assert_eq!(rows, rules.into_keys().collect());
}

/// `make check-metrics` runs them.
#[test]
fn every_alert_has_a_test() {
    let fires = matches(
        &read("alerts_test.yml"),
        r#"ALERTS\{alertname="([A-Za-z]+)",alertstate="firing","#,
    );
    let alerts: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(alerts, fires);
}
