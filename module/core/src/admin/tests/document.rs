use std::collections::BTreeSet;

use serde_json::Value;

use crate::admin::{document, page, route};

fn read() -> Value {
    serde_json::from_str(document()).unwrap()
}

/// Every operation exists, with this method only.
#[test]
fn the_document_describes_what_there_is() {
    let document = read();
    for (path, methods) in document["paths"].as_object().unwrap() {
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

/// The links of a taken lock refer to existing operations.
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

#[test]
fn the_page_shows_every_field() {
    let page = page();
    let document = read();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        for field in schema["properties"].as_object().into_iter().flatten() {
            assert!(
                page.contains(&format!("<code>{}</code>", field.0)),
                "{name}.{}",
                field.0
            );
        }
    }
}
