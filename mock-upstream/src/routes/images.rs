//! `POST /v1/images/generations`: the same small picture every time.

use axum::response::Response;

use crate::body::Reply;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, Decided, serve};
use crate::validate;

/// A PNG of one transparent pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const TOKENS_OF_AN_IMAGE: u64 = 272;

pub(super) async fn generate(arrived: Arrived) -> Response<Reply> {
    let served = serve(arrived, Route::Images, |plan, fault, head| {
        if fault.strict == Some(true) {
            validate::needs(head, "prompt", &plan.scenario.models)?;
        }
        let choices = u64::from(head.choices);
        Ok(Decided {
            answer: (choices, head.prompt_tokens),
            prompt_tokens: head.prompt_tokens,
            completion_tokens: choices * TOKENS_OF_AN_IMAGE,
        })
    });
    let (exchange, (images, input)) = match served.await {
        Ok(arrived) => arrived,
        Err(refused) => return refused.answer(),
    };
    let image = serde_json::json!({"b64_json": PNG});
    let output = images * TOKENS_OF_AN_IMAGE;
    let answer = serde_json::json!({
        "created": exchange.at.as_secs(),
        "background": "opaque",
        "data": vec![image; images as usize],
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
        "usage": {
            "input_tokens": input,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": input},
            "output_tokens": output,
            "total_tokens": input + output,
        },
    });
    exchange.generated(answer.to_string()).await
}
