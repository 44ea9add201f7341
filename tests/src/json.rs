//! JSON in the logs.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Lines of JSON, as far as they have been written.
#[track_caller]
pub fn json_lines<T: DeserializeOwned>(text: &str) -> Vec<T> {
    complete_lines(text)
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}")))
        .collect()
}

fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
}

/// The module's events in an error log: nginx puts its own words in front of one, and what it
/// knows of the connection behind it. A line that is still being written is left out.
#[track_caller]
pub fn events_in(text: &str) -> Vec<Value> {
    let begun = complete_lines(text).filter_map(|line| line.find("{\"").map(|at| &line[at..]));
    begun
        .map(|event| {
            let mut values = serde_json::Deserializer::from_str(event).into_iter::<Value>();
            let value = values.next().and_then(Result::ok);
            value.unwrap_or_else(|| panic!("no JSON: {event}"))
        })
        .collect()
}
