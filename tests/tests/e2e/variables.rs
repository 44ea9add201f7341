//! What an access log can say of a request.

use e2e::Plan;

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn every_variable_of_a_leased_request_is_in_the_log() {
    let gateway = Plan::new()
        .environment("SERVICE_TOKEN", "token-of-a-service")
        .clients("client app env:SERVICE_TOKEN role=admin;")
        .start();
    let body = r#"{"user":"u-1","stream":true,"model":"gpt-4o","messages":[]}"#;
    gateway
        .chat_with(body)
        .token("token-of-a-service")
        .send()
        .expect_status(200);
    let line = &gateway.logged(1)[0];
    assert_eq!(
        (line.status, line.uri.as_str()),
        (200, "/v1/chat/completions")
    );
    assert_eq!((line.pool.as_str(), line.key_id.as_str()), ("main", "main"));
    assert_eq!(
        (line.service.as_str(), line.role.as_str()),
        ("app", "admin")
    );
    assert_eq!((line.model.as_str(), line.user.as_str()), ("gpt-4o", "u-1"));
    assert_eq!(
        (line.stream.as_str(), line.lease_status.as_str()),
        ("true", "immediate")
    );
    assert_eq!(line.wait_ms, "0");
    assert!(!line.lease_id.is_empty(), "{line:?}");
    for number in [&line.slot, &line.fence, &line.hold_ms] {
        assert!(is_number(number), "{line:?}");
    }
}

#[test]
fn a_request_outside_has_no_lease() {
    let gateway = Plan::new()
        .server("location = /plain { return 200 plain; }")
        .start();
    gateway.get("/plain").send().expect_status(200);
    let line = &gateway.logged(1)[0];
    assert_eq!(line.lease_status, "none");
    for value in [
        &line.pool,
        &line.key_id,
        &line.slot,
        &line.lease_id,
        &line.fence,
        &line.service,
        &line.role,
        &line.model,
        &line.stream,
        &line.user,
    ] {
        assert_eq!(value, "", "{line:?}");
    }
}

#[test]
fn model_stream_and_user_are_read_as_the_body_has_them() {
    let gateway = Plan::new().start();
    let bodies = [
        (
            r#"{"model":"gpt-4o","stream":false}"#,
            ("gpt-4o", "false", ""),
        ),
        (r#"{"stream":true}"#, ("", "true", "")),
        (r#"{}"#, ("", "false", "")),
        (r#"{"model":"first","model":"last"}"#, ("last", "false", "")),
        (
            "{\"m\\u006fdel\":\"\\u0067pt\\u002d4o\"}",
            ("gpt-4o", "false", ""),
        ),
        (
            " {\n\t\"model\" : \"a\" ,\r\n \"user\" : \"b\" }\n",
            ("a", "false", "b"),
        ),
        (
            r#"{"messages":[{"model":"no","stream":true}],"user":"u"}"#,
            ("", "false", "u"),
        ),
        (
            r#"{"messages":[{"content":"\"model\":\"no\""}],"model":"yes"}"#,
            ("yes", "false", ""),
        ),
        (r#"{"model":5,"user":null}"#, ("", "false", "")),
        ("{\"model\":\"größe-模型\"}", ("größe-模型", "false", "")),
    ];
    for (number, (body, expected)) in (1..).zip(bodies) {
        gateway.chat_with(body).send().expect_status(200);
        let line = gateway.logged(number).pop().expect("a line");
        let (model, stream, user) = expected;
        assert_eq!(
            (
                line.model.as_str(),
                line.stream.as_str(),
                line.user.as_str()
            ),
            (model, stream, user),
            "{body}"
        );
    }
}

#[test]
fn what_a_client_writes_cannot_break_the_log() {
    let gateway = Plan::new().start();
    let body = r#"{"model":"a\"b\\c\n\u0000\u001b","user":"\",\"status\":0,\""}"#;
    gateway.chat_with(body).send().expect_status(200);
    let line = &gateway.logged(1)[0];
    assert_eq!(line.status, 200);
    assert_eq!(line.user, "\",\"status\":0,\"");
    assert!(line.model.starts_with("a\"b\\c"), "{line:?}");
}

#[test]
fn variables_can_be_used_in_headers_of_the_answer() {
    let gateway = Plan::new()
        .location(
            "add_header X-Key-Id $openai_key_id always;
             add_header X-Lease $openai_lease_status always;",
        )
        .start();
    let answer = gateway.chat().send().expect_status(200);
    assert_eq!(answer.header("x-key-id"), Some("main"));
    assert_eq!(answer.header("x-lease"), Some("immediate"));
}

#[test]
fn the_gauges_show_a_pool() {
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-a slots=2; key sk-e2e-b slots=3;")
        .start();
    let now = gateway.held("main");
    assert_eq!((now.held, now.waiting, now.slots), (0, 0, 5));
}

/// nginx warns when its hash of variables is too small for all: beside those of other
/// modules there is little room in it.
#[test]
fn variables_of_other_modules_fit_beside_ours() {
    let others = (1..=30).map(|n| format!("map $uri $stock_variable_{n} {{ default 1; }}\n"));
    let test = Plan::new().http(&others.collect::<String>()).check();
    assert!(test.ok, "{}", test.output);
    assert!(!test.output.contains("variables_hash"), "{}", test.output);
}

#[test]
fn a_misspelled_variable_is_refused() {
    for text in [
        "log_format wrong '$openai_modle';",
        "map $openai_ $x { default 1; }",
        "map $uri $x { default $openai_pool_key; }",
    ] {
        let test = Plan::new().http(text).check();
        assert!(!test.ok, "{text}");
        let lines = test.emergencies();
        assert!(
            lines.len() == 1 && lines[0].contains("unknown \"openai_"),
            "{lines:?}"
        );
    }
}

#[test]
fn others_may_have_variables_whose_names_begin_like_ours() {
    let gateway = Plan::new()
        .http("map $uri $openai_of_map { default from-map; }")
        .server("set $openai_of_set from-set;")
        .location("add_header X-Theirs \"$openai_of_map $openai_of_set\";")
        .start();
    let answer = gateway.chat().send().expect_status(200);
    assert_eq!(answer.header("x-theirs"), Some("from-map from-set"));
}

/// As SSI, Lua and njs do.
#[test]
fn variables_are_found_by_their_names_while_a_request_runs() {
    let gateway = Plan::new()
        .file(
            "page.html",
            "<!--# echo var=\"openai_pool\" --> <!--# echo var=\"openai_none\" -->",
        )
        .server("location = /page.html { openai main; ssi on; root {dir}; }")
        .start();
    let answer = gateway.get("/page.html").send().expect_status(200);
    assert_eq!(answer.text(), "main (none)");
}
