//! OpenAI's own clients, with nothing but the base URL and the key set, which is the client's token.

use e2e::{node, python};

use crate::bed::{Bed, Config, SERVICE};

on_each_configuration!(openai_python_works, openai_node_works);

fn openai_python_works(config: Config) {
    let bed = Bed::start(config);
    let script = include_str!("openai_client.py");
    let play = |token: &str, scene: &str| python(script, &[&bed.url("/v1"), token, scene]);
    assert_eq!(play(SERVICE, "stream"), "powered by openai");
    assert_eq!(play(SERVICE, "stream_with_usage"), "3");
    assert_eq!(play(SERVICE, "complete"), "powered by openai");
    assert!(play(SERVICE, "models").starts_with("model"));
    let ids = play(SERVICE, "request_id");
    let (answer, error) = ids.split_once('\n').expect("two ids");
    assert!(answer.starts_with("req_"), "the provider's: {ids}");
    assert!(!error.is_empty() && error != "None", "the gateway's: {ids}");
    let refused = play("token-of-nobody-here", "fail");
    assert_eq!(refused, "AuthenticationError 401 invalid_api_key");
    bed.end();
}

fn openai_node_works(config: Config) {
    let bed = Bed::start(config);
    let said = node(include_str!("shipped.mjs"), &[&bed.url("/v1"), SERVICE]);
    assert_eq!(said, "7 scenes");
    bed.end();
}
