//! What a JSON value has to look like.
//!
//! A shape is JSON itself. An object has at least the fields of its shape; an array has as many items; a text
//! that begins with `<` names a kind, and anything else is the value itself.

use serde_json::Value;

/// Says what of a value is not as in its shape; nothing when it is.
pub fn differences(shape: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", shape, value, &mut found);
    found
}

/// Fails the test unless a value has its shape.
#[track_caller]
pub fn assert_shape(what: &str, shape: &Value, value: &Value) {
    let found = differences(shape, value);
    assert!(found.is_empty(), "{what}: {}\n{value:#}", found.join("; "));
}

fn compare(at: &str, shape: &Value, value: &Value, found: &mut Vec<String>) {
    match (shape, value) {
        (Value::Object(shape), Value::Object(value)) => {
            for (name, shape) in shape {
                let at = format!("{at}.{name}");
                match value.get(name) {
                    Some(value) => compare(&at, shape, value, found),
                    None => found.push(format!("{at} is missing")),
                }
            }
        }
        (Value::Array(shape), Value::Array(value)) if shape.len() == value.len() => {
            for (n, (shape, value)) in shape.iter().zip(value).enumerate() {
                compare(&format!("{at}[{n}]"), shape, value, found);
            }
        }
        (Value::String(kind), value) if kind.starts_with('<') => {
            if !is(kind, value) {
                found.push(format!("{at} is {value}, not {kind}"));
            }
        }
        (shape, value) if shape == value => {}
        (shape, value) => found.push(format!("{at} is {value}, not {shape}")),
    }
}

fn is(kind: &str, value: &Value) -> bool {
    let text = value.as_str();
    match kind {
        "<any>" => true,
        "<null>" => value.is_null(),
        "<boolean>" => value.is_boolean(),
        "<number>" => value.is_number(),
        "<number or null>" => value.is_number() || value.is_null(),
        "<integer>" => value.is_u64(),
        "<list>" => value.is_array(),
        "<object>" => value.is_object(),
        "<object or list>" => value.is_object() || value.is_array(),
        "<text>" => text.is_some_and(|text| !text.is_empty()),
        "<key>" => text.is_some_and(|text| text.starts_with("sk-")),
        "<time>" => text.is_some_and(is_time),
        "<level>" => text.is_some_and(is_level),
        _ => panic!("no such kind: {kind}"),
    }
}

/// A moment in RFC 3339, which every program reads: `2024-07-28T10:00:00Z`, with a fraction or an
/// offset perhaps.
pub fn is_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else {
        return false;
    };
    let digits = |text: &str, lengths: &[usize], between: char| {
        let parts: Vec<&str> = text.split(between).collect();
        parts.len() == lengths.len()
            && parts.iter().zip(lengths).all(|(part, &length)| {
                part.len() == length && part.bytes().all(|b| b.is_ascii_digit())
            })
    };
    let (clock, zone) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let clock = clock.split('.').next().unwrap_or_default();
    let zoned = zone == "Z" || zone.get(1..).is_some_and(|zone| digits(zone, &[2, 2], ':'));
    digits(date, &[4, 2, 2], '-') && digits(clock, &[2, 2, 2], ':') && zoned
}

/// The words for a level, which are the same everywhere.
pub fn is_level(text: &str) -> bool {
    ["debug", "info", "notice", "warn", "error"].contains(&text)
}

#[test]
fn shapes_report_what_is_wrong() {
    use serde_json::json;
    let shape = json!({"a": "<integer>", "b": {"c": 1}, "d": ["<time>"], "e": "<level>"});
    let good = json!({"a": 7, "b": {"c": 1, "x": 2}, "d": ["2024-07-28T10:00:00.5Z"], "e": "warn"});
    assert_eq!(differences(&shape, &good), Vec::<String>::new());
    let bad = json!({"a": "7", "b": {}, "d": ["yesterday"], "e": "warning"});
    assert_eq!(differences(&shape, &bad).len(), 4);
    for time in ["2024-07-28T10:00:00+02:00", "2024-07-28T10:00:00Z"] {
        assert!(is_time(time), "{time}");
    }
    for time in [
        "2024-07-28 10:00:00",
        "2024-07-28T10:00:00",
        "2024-07-28T10:00Z",
        "1722160800",
    ] {
        assert!(!is_time(time), "{time}");
    }
}
