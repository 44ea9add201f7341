//! Parsing of JSON bodies, with the name of an invalid field.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::problem::Problem;

/// Parses a body. The error names the invalid field.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        explain(&field, error.inner())
    })?;
    json.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

fn explain(field: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    // Without line and column.
    let text = text.split(" at line ").next().unwrap_or_default();
    if error.classify() != Category::Data {
        return Problem::malformed(text);
    }
    let within = |name: &str| match field {
        "" | "." => name.to_owned(),
        outer => format!("{outer}.{name}"),
    };
    let named = |what: &str| {
        let name = text.strip_prefix(what)?.strip_prefix(" `")?;
        Some(name.split('`').next().unwrap_or_default())
    };
    if let Some(name) = named("missing field") {
        return Problem::missing(&within(name));
    }
    if let Some(name) = named("duplicate field") {
        return Problem::wrong_value(&within(name), "it is repeated");
    }
    match field {
        "" | "." => Problem::wrong_kind("body", "expected an object"),
        field if text.starts_with("unknown variant") => {
            let wanted = text
                .split_once("expected ")
                .map_or("", |(_, wanted)| wanted);
            Problem::wrong_value(field, &format!("expected {wanted}"))
        }
        field => Problem::wrong_kind(field, text.split_once(": ").map_or(text, |(_, why)| why)),
    }
}
