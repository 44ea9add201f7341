//! The programs in README and guides that use a client library do what they are for.
//!
//! They call a gateway as that of `make run`, whose address takes the place of `localhost:8004`.

use std::time::Duration;

use e2e::{Example, RunningShipped, Shipped, node, python_with};
use mock_upstream::{MockServer, Scenario};

/// What the mock answers.
const ANSWER: &str = "powered by openai";

fn start() -> (MockServer, RunningShipped) {
    let mock = MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts");
    let running = Shipped::prepare("run.conf", mock.addr().port())
        .with("DEV_MODE", "true")
        .start();
    (mock, running)
}

/// The programs in this language, for a gateway on this port.
fn programs(language: &str, port: u16) -> Vec<Example> {
    let mut programs = Example::all(language);
    for program in &mut programs {
        let here = format!("127.0.0.1:{port}");
        program.text = program.text.replace("localhost:8004", &here);
    }
    programs
}

#[test]
fn python_programs_of_pages_work() {
    let (_mock, running) = start();
    let port = running.port();
    let url = format!("http://127.0.0.1:{port}");
    let environment = [
        ("OPENAI_SERVICE_URL", &*url),
        ("SERVICE_TOKEN", "dev-token"),
    ];
    let mut answers = 0;
    for Example { page, text } in programs("python", port) {
        let said = python_with(&environment, &text, &[]);
        // The program that locks a key prints nothing.
        if text.contains("import OpenAI") {
            answers += 1;
            assert_eq!(said, ANSWER, "{page}: {text}");
        }
    }
    assert!(answers >= 2, "{answers} programs");
    running.stop();
}

#[test]
fn javascript_programs_of_pages_work() {
    let (_mock, running) = start();
    let programs = programs("js", running.port());
    assert!(!programs.is_empty());
    for Example { page, text } in programs {
        assert_eq!(node(&text, &[]), ANSWER, "{page}: {text}");
    }
    running.stop();
}
