//! OpenAI's own clients before the mock itself, with nothing but `base_url` and `api_key` set.

use std::time::Duration;

use e2e::{node, python};
use mock_upstream::{MockServer, Scenario};

fn mock() -> MockServer {
    MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts")
}

/// The script fails by itself at the first thing that is not as its models say.
#[test]
fn openai_python_understands_every_answer() {
    let mock = mock();
    let said = python(include_str!("mock.py"), &[&format!("{}/v1", mock.url())]);
    assert_eq!(said, "17 scenes");
}

#[test]
fn openai_node_understands_every_answer() {
    let mock = mock();
    let said = node(include_str!("mock.mjs"), &[&format!("{}/v1", mock.url())]);
    assert_eq!(said, "8 scenes");
}
