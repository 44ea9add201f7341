//! openai-python from PyPI, with only `base_url` and `api_key` set.

use e2e::{Gateway, Plan, RawUpstream, closed_port, python};

const SCRIPT: &str = include_str!("openai_client.py");
const TOKEN: &str = "token-of-a-python-program";

/// Plays a scene of the client's script, and gives what it prints.
fn play(gateway: &Gateway, token: &str, scene: &str) -> String {
    python(SCRIPT, &[&gateway.url("/v1"), token, scene])
}

fn plan() -> Plan {
    Plan::new()
        .environment("SERVICE_TOKEN", TOKEN)
        .clients("client app env:SERVICE_TOKEN;")
}

#[test]
fn openai_python_streams_and_completes() {
    let gateway = plan().start();
    assert_eq!(play(&gateway, TOKEN, "stream"), "powered by openai");
    assert_eq!(play(&gateway, TOKEN, "stream_with_usage"), "3");
    assert_eq!(play(&gateway, TOKEN, "complete"), "powered by openai");
    assert!(play(&gateway, TOKEN, "models").starts_with("model"));
    let lines = gateway.logged(4);
    assert!(
        lines
            .iter()
            .all(|line| line.service == "app" && line.key_id == "main")
    );
    assert_eq!(
        (lines[0].stream.as_str(), lines[0].model.as_str()),
        ("true", "gpt-4o")
    );
}

#[test]
fn openai_python_raises_the_error_that_fits() {
    let gateway = plan().start();
    let error = play(&gateway, "wrong", "fail");
    assert_eq!(error, "AuthenticationError 401 invalid_api_key");

    let upstream = RawUpstream::bind();
    let gateway = plan()
        .pool("main", "key sk-e2e-main-0001; wait 0;")
        .upstream(upstream.address())
        .start();
    let holder = gateway.chat().token(TOKEN).spawn();
    let mut exchange = upstream.accept();
    assert_eq!(
        play(&gateway, TOKEN, "fail"),
        "RateLimitError 429 no_key_available"
    );
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);

    let gateway = plan()
        .upstream(format!("127.0.0.1:{}", closed_port()))
        .start();
    let error = play(&gateway, TOKEN, "fail");
    assert_eq!(error, "InternalServerError 502 upstream_unavailable");
}

/// The provider's id where there is one, and the gateway's where there is none.
#[test]
fn openai_python_reports_the_id_of_a_request() {
    let gateway = plan().location("openai_trace on;").start();
    let said = play(&gateway, TOKEN, "request_id");
    let (answer, error) = said.split_once('\n').expect("two ids");
    assert!(answer.starts_with("req_") && answer.len() == 36, "{said}");
    assert_eq!(error, gateway.logged(2)[1].request_id);
}

#[test]
fn openai_python_meets_routes_and_aliases() {
    let routes = |lines: &str| {
        let block = format!("openai_routes models {{ {lines} }}");
        plan().http(&block).serves("openai_route models;").start()
    };
    let gateway = routes("model gpt-5 to=main;");
    let error = play(&gateway, TOKEN, "fail");
    assert_eq!(error, "NotFoundError 404 model_not_found");

    let gateway = routes("model gpt-5 to=main; alias gpt-4o gpt-5 restore;");
    assert_eq!(play(&gateway, TOKEN, "stream"), "powered by openai");
    // The answer names the model that was asked for: the scene sees to that.
    assert_eq!(play(&gateway, TOKEN, "complete"), "powered by openai");
    for line in gateway.logged(2) {
        assert_eq!(
            (line.model.as_str(), line.upstream_model.as_str()),
            ("gpt-4o", "gpt-5")
        );
    }
}
