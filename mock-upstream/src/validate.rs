//! What the real API would refuse.

use axum::http::StatusCode;
use serde_json::Value;

use crate::error::ApiError;
use crate::head::{Fields, Head, json};

/// Checks a chat request.
pub(crate) fn chat(head: &Head<'_>, models: &[String]) -> Result<(), ApiError> {
    let fields = needs(head, "messages", models)?;
    let messages = match json::<Value>(fields.messages) {
        Some(Value::Array(messages)) => messages,
        other => {
            let kind = kind(&other.unwrap_or_default());
            let message = format!(
                "Invalid type for 'messages': expected an array of objects, but got {kind} instead."
            );
            return Err(ApiError::bad_param(
                "messages",
                message,
                Some("invalid_type"),
            ));
        }
    };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, \
                       but got an empty array instead.";
        return Err(ApiError::bad_param(
            "messages",
            message,
            Some("empty_array"),
        ));
    }
    range("temperature", fields.temperature, 2.0)?;
    range("top_p", fields.top_p, 1.0)?;
    if fields
        .stream_options
        .is_some_and(|options| options != "null")
        && !head.stream
    {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(ApiError::bad_param("stream_options", message, None));
    }
    Ok(())
}

/// Checks that the body is a JSON object with a known model and the one field that it cannot do
/// without.
pub(crate) fn needs<'a, 'b>(
    head: &'b Head<'a>,
    field: &'static str,
    models: &[String],
) -> Result<&'b Fields<'a>, ApiError> {
    let fields = head.fields.as_ref().ok_or_else(|| {
        let message = "We could not parse the JSON body of your request. (HINT: This likely means \
                       you aren't using your HTTP library correctly. The OpenAI API expects a JSON \
                       payload, but what was sent was not valid JSON. If you have trouble figuring \
                       out how to fix this, please contact us through our help center at \
                       help.openai.com.)";
        ApiError::invalid(StatusCode::BAD_REQUEST, message, None)
    })?;
    match fields.model.and_then(|model| json::<String>(Some(model))) {
        None => {
            let message = "you must provide a model parameter";
            return Err(ApiError::invalid(StatusCode::BAD_REQUEST, message, None));
        }
        Some(model) if !models.contains(&model) => return Err(ApiError::unknown_model(&model)),
        Some(_) => {}
    }
    let there = match field {
        "messages" => fields.messages,
        "prompt" => fields.prompt,
        _ => fields.input,
    };
    if there.is_none_or(|value| value == "null") {
        let message = format!("Missing required parameter: '{field}'.");
        let code = Some("missing_required_parameter");
        return Err(ApiError::bad_param(field, message, code));
    }
    Ok(fields)
}

fn range(name: &'static str, field: Option<&str>, most: f64) -> Result<(), ApiError> {
    let Some(value) = json::<Value>(field).filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let Some(number) = value.as_f64() else {
        let message = format!(
            "Invalid type for '{name}': expected a decimal, but got {} instead.",
            kind(&value)
        );
        return Err(ApiError::bad_param(name, message, Some("invalid_type")));
    };
    let (side, sign, bound, code) = if number < 0.0 {
        ("below minimum", ">=", 0.0, "decimal_below_min_value")
    } else if number > most {
        ("above maximum", "<=", most, "decimal_above_max_value")
    } else {
        return Ok(());
    };
    let message = format!(
        "Invalid '{name}': decimal {side} value. Expected a value {sign} {bound}, but got {number} \
         instead."
    );
    Err(ApiError::bad_param(name, message, Some(code)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(body: &str) -> String {
        match chat(&Head::read(body.as_bytes()), &["m".to_owned()]) {
            Ok(()) => "fine".to_owned(),
            Err(error) => {
                let json: Value = serde_json::from_slice(&error.to_json()).expect("JSON");
                let error = &json["error"];
                format!("{} {} {}", error["param"], error["code"], error["message"])
            }
        }
    }

    #[test]
    fn refuses_what_the_real_api_refuses() {
        let bodies = [
            r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#,
            r#"{"model":"m","messages":[{}],"stream":true,"stream_options":{}}"#,
            "no JSON",
            "{}",
            r#"{"model":"x","messages":[{}]}"#,
            r#"{"model":"m"}"#,
            r#"{"model":"m","messages":"hi"}"#,
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m","messages":[{}],"temperature":3}"#,
            r#"{"model":"m","messages":[{}],"top_p":-1}"#,
            r#"{"model":"m","messages":[{}],"top_p":"1"}"#,
            r#"{"model":"m","messages":[{}],"stream_options":{}}"#,
        ];
        let reported: Vec<String> = bodies.into_iter().map(reported).collect();
        insta::assert_snapshot!(reported.join("\n"), @r#"
        fine
        fine
        null null "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)"
        null null "you must provide a model parameter"
        null "model_not_found" "The model `x` does not exist or you do not have access to it."
        "messages" "missing_required_parameter" "Missing required parameter: 'messages'."
        "messages" "invalid_type" "Invalid type for 'messages': expected an array of objects, but got a string instead."
        "messages" "empty_array" "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        "temperature" "decimal_above_max_value" "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead."
        "top_p" "decimal_below_min_value" "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -1 instead."
        "top_p" "invalid_type" "Invalid type for 'top_p': expected a decimal, but got a string instead."
        "stream_options" null "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        "#);
    }
}
