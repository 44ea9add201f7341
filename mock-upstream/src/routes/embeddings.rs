//! `POST /v1/embeddings`.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::body::Reply;
use crate::head::{Head, json};
use crate::metrics::Route;
use crate::routes::intake::{Arrived, Decided, serve};
use crate::validate;

const DIMENSIONS: u64 = 1536;
const MAX_DIMENSIONS: u64 = 16_384;
const MAX_INPUTS: usize = 2048;

pub(super) async fn post(arrived: Arrived) -> Response<Reply> {
    let served = serve(arrived, Route::Embeddings, |plan, fault, head| {
        if fault.strict == Some(true) {
            validate::needs(head, "input", &plan.scenario.models)?;
        }
        Ok(Decided {
            answer: embed(head),
            prompt_tokens: head.prompt_tokens,
            completion_tokens: 0,
        })
    });
    match served.await {
        Ok((exchange, json)) => exchange.generated(json).await,
        Err(refused) => refused.answer(),
    }
}

/// The same text always has the same embedding.
fn embed(head: &Head<'_>) -> String {
    let fields = head.fields.clone().unwrap_or_default();
    let dimensions = json(fields.dimensions).unwrap_or(DIMENSIONS);
    let dimensions = dimensions.clamp(1, MAX_DIMENSIONS) as usize;
    let base64 = json::<&str>(fields.encoding_format) == Some("base64");
    let vectors = inputs(fields.input).into_iter().enumerate();
    let vectors = vectors.map(|(index, input)| {
        let vector = vector(&input, dimensions);
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            Value::from(STANDARD.encode(bytes))
        } else {
            Value::from(vector)
        };
        serde_json::json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Vec<Value> = vectors.collect();
    let model: Value = serde_json::from_str(head.model).unwrap_or_default();
    let tokens = head.prompt_tokens;
    let usage = serde_json::json!({"prompt_tokens": tokens, "total_tokens": tokens});
    serde_json::json!({"object": "list", "data": data, "model": model, "usage": usage}).to_string()
}

/// The texts, or lists of tokens, that are to be embedded.
fn inputs(input: Option<&str>) -> Vec<String> {
    match json(input).unwrap_or_default() {
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            let items = items.iter().take(MAX_INPUTS);
            items.map(Value::to_string).collect()
        }
        other => vec![other.to_string()],
    }
}

/// A vector of length 1.
fn vector(input: &str, dimensions: usize) -> Vec<f32> {
    let mut rng = SmallRng::from_seed(Sha256::digest(input).into());
    let vector: Vec<f32> = (0..dimensions)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.into_iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(body: &str) -> Value {
        serde_json::from_str(&embed(&Head::read(body.as_bytes()))).expect("JSON")
    }

    #[test]
    fn every_input_has_a_unit_vector_of_its_own() {
        let json = embedded(r#"{"input":["a","b","a"],"dimensions":8,"model":"m"}"#);
        let data = json["data"].as_array().expect("a list");
        assert_eq!((data.len(), &json["model"]), (3, &"m".into()));
        assert_eq!(data[0]["embedding"], data[2]["embedding"]);
        assert_ne!(data[0]["embedding"], data[1]["embedding"]);
        let vector = data[0]["embedding"].as_array().expect("a vector");
        let length: f64 = vector.iter().filter_map(Value::as_f64).map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
        assert_eq!(vector.len(), 8);
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let plain = embedded(r#"{"input":"a","dimensions":2}"#);
        let coded = embedded(r#"{"input":"a","dimensions":2,"encoding_format":"base64"}"#);
        let coded = coded["data"][0]["embedding"].as_str().expect("a text");
        let bytes = STANDARD.decode(coded).expect("Base64");
        let first = f32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
        let plain = plain["data"][0]["embedding"][0].as_f64().expect("a number");
        assert!((f64::from(first) - plain).abs() < 1e-6);
        assert_eq!(bytes.len(), 8);
    }

    #[test]
    fn a_list_of_tokens_is_one_input() {
        let count = |body: &str| embedded(body)["data"].as_array().map(Vec::len);
        assert_eq!(count(r#"{"input":[1,2,3]}"#), Some(1));
        assert_eq!(count(r#"{"input":[[1,2],[3]]}"#), Some(2));
        assert_eq!(count("{}"), Some(1));
        assert_eq!(
            embedded("{}")["data"][0]["embedding"]
                .as_array()
                .map(Vec::len),
            Some(1536)
        );
    }
}
