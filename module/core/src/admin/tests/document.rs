use std::collections::BTreeSet;

use serde_json::Value;

use crate::admin::{DOCS_PAGE, STATUS_PAGE, docs_file, document, openai, route};

fn read() -> Value {
    serde_json::from_str(document()).unwrap()
}

/// Every operation of the document exists, with this method only.
#[test]
fn the_document_describes_what_there_is() {
    let document = read();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if path == openai::PATH {
            continue;
        }
        let path = path.replace("{lock_id}", "0123456789abcdef0123456789abcdef");
        for method in methods.as_object().unwrap().keys() {
            assert!(
                route(&method.to_uppercase(), &path).is_ok(),
                "{method} {path}"
            );
        }
    }
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    found.insert(to.clone());
                }
                fields.values().for_each(|inner| references(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }
    let document = read();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// The links of the response to an acquired lock refer to existing operations.
#[test]
fn what_comes_after_is_linked() {
    let document = read();
    let taken = &document["paths"]["/v1/lock/acquire"]["post"]["responses"]["200"];
    let links = taken["links"].as_object().unwrap();
    assert_eq!(links.len(), 2);
    for link in links.values() {
        let id = &link["operationId"];
        let paths = document["paths"].as_object().unwrap().values();
        let mut all = paths.flat_map(|methods| methods.as_object().unwrap().values());
        assert!(all.any(|operation| operation["operationId"] == *id), "{id}");
    }
}

/// The pages contain their style and script, and the policy permits them.
#[test]
fn the_pages_are_whole() {
    for page in [&DOCS_PAGE, &STATUS_PAGE] {
        assert!(page.html.contains("sign-out"));
        assert!(!page.html.contains("{style}") && !page.html.contains("{script}"));
        assert_eq!(page.policy.matches("'sha256-").count(), 2);
    }
    for name in ["swagger-ui.js", "swagger-ui.css"] {
        assert!(DOCS_PAGE.html.contains(&format!("docs?{name}")));
        let (_, body) = docs_file(name.as_bytes()).unwrap();
        assert!(body.starts_with(b"\x1f\x8b"), "{name} is compressed");
    }
    assert!(docs_file(b"").is_none());
}

/// The table has every error of a request through the gateway.
#[test]
fn the_errors_of_the_gateway_are_listed() {
    let document = read();
    let chat = &document["paths"][openai::PATH]["post"];
    let description = chat["description"].as_str().unwrap();
    for code in [
        "invalid_api_key",
        "model_not_found",
        "no_key_available",
        "queue_full",
        "keys_rate_limited",
        "insufficient_quota",
        "no_healthy_key",
        "lock_unavailable",
        "lease_lost",
    ] {
        assert!(description.contains(&format!("`{code}`")), "{code}");
    }
}
