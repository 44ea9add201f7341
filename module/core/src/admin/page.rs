//! The documentation page, generated from the OpenAPI document. It loads nothing else.

use std::fmt::Write;
use std::sync::OnceLock;

use serde_json::Value;

use super::document::document;

const STYLE: &str = include_str!("page.css");

/// The page as HTML.
#[must_use]
pub fn page() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| {
        let document = serde_json::from_str(document()).unwrap_or_default();
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = write_page(&mut page, &document);
        page
    })
}

fn write_page(out: &mut String, document: &Value) -> std::fmt::Result {
    let title = text(&document["info"]["title"]);
    let version = text(&document["info"]["version"]);
    let description = text(&document["info"]["description"]);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title} <small>{version}</small></h1>\n<p>{description}</p>\n\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a>. For operators: \
         <a href=\"status\">status</a>.</p>\n<nav><ul>\n"
    )?;
    for (path, method, operation) in operations(document) {
        let (id, summary) = (text(&operation["operationId"]), text(&operation["summary"]));
        writeln!(
            out,
            "<li><a href=\"#{id}\"><code>{method} {path}</code></a> {summary}</li>"
        )?;
    }
    out.push_str("</ul></nav>\n");
    for (path, method, operation) in operations(document) {
        write_operation(out, (&path, &method), operation)?;
    }
    out.push_str("<h2 id=\"bodies\">Bodies</h2>\n");
    if let Some(schemas) = document["components"]["schemas"].as_object() {
        for (name, schema) in schemas {
            write_schema(out, name, schema)?;
        }
    }
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(|(method, operation)| (escape(path), method.to_uppercase(), operation))
    });
    all.collect()
}

fn write_operation(out: &mut String, call: (&str, &str), operation: &Value) -> std::fmt::Result {
    let (path, method) = call;
    let (id, summary) = (text(&operation["operationId"]), text(&operation["summary"]));
    writeln!(
        out,
        "<section id=\"{id}\">\n<h2>{summary}</h2>\n<p class=\"call\"><code>{method} {path}</code></p>"
    )?;
    writeln!(out, "<p>{}</p>", text(&operation["description"]))?;
    if operation["security"].is_null() {
        out.push_str("<p>No token needed.</p>\n");
    }
    let asks = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !asks.is_null() {
        writeln!(out, "<p>Body: {}</p>", kind(asks))?;
    }
    out.push_str(
        "<table>\n<thead><tr><th>Status</th><th>Body</th><th></th></tr></thead>\n<tbody>\n",
    );
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let body = kind(&answer["content"]["application/json"]["schema"]);
        let why = text(&answer["description"]);
        writeln!(
            out,
            "<tr><td>{status}</td><td>{body}</td><td>{why}</td></tr>"
        )?;
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
    Ok(())
}

fn write_schema(out: &mut String, name: &str, schema: &Value) -> std::fmt::Result {
    let description = text(&schema["description"]);
    let name = escape(name);
    writeln!(
        out,
        "<section id=\"{name}\">\n<h3>{name}</h3>\n<p>{description}</p>"
    )?;
    out.push_str(
        "<table>\n<thead><tr><th>Field</th><th>Kind</th><th></th></tr></thead>\n<tbody>\n",
    );
    // The fields of a flattened struct are in one of several parts.
    let parts = schema["allOf"].as_array().into_iter().flatten();
    for part in std::iter::once(schema).chain(parts) {
        let required: Vec<_> = part["required"].as_array().into_iter().flatten().collect();
        for (field, about) in part["properties"].as_object().into_iter().flatten() {
            let must = required.iter().any(|name| *name == field);
            let must = if must { " <em>required</em>" } else { "" };
            let (name, kind) = (escape(field), kind(about));
            let bounds = bounds(about);
            let description = text(&about["description"]);
            writeln!(
                out,
                "<tr><td><code>{name}</code>{must}</td><td>{kind}{bounds}</td><td>{description}</td></tr>"
            )?;
        }
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
    Ok(())
}

/// The type of a schema in a word, with a link if it is described elsewhere.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = escape(name.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values
            .iter()
            .map(|v| format!("<code>{}</code>", text(v)))
            .collect();
        return values.join(", ");
    }
    let several = schema["oneOf"].as_array().or(schema["type"].as_array());
    if let Some(several) = several {
        let kinds: Vec<_> = several.iter().map(|one| kind(&one_of(one))).collect();
        return kinds.join(" or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some(word) => escape(word),
        None => String::new(),
    }
}

/// A member of a list of types: a schema, or the name of a type.
fn one_of(member: &Value) -> Value {
    match member {
        Value::String(_) => serde_json::json!({ "type": member }),
        other => other.clone(),
    }
}

fn bounds(schema: &Value) -> String {
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Number(least), Value::Number(most)) => format!(", {least} to {most}"),
        _ => String::new(),
    }
}

/// Converts a text of the document to HTML; text between backquotes is code.
fn text(value: &Value) -> String {
    let escaped = escape(value.as_str().unwrap_or_default());
    let parts = escaped.split('`').enumerate();
    parts
        .map(|(at, part)| match at % 2 {
            0 => part.to_owned(),
            _ => format!("<code>{part}</code>"),
        })
        .collect()
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(c),
        }
    }
    safe
}
