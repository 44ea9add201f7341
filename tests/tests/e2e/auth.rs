//! Who may use the gateway.

use e2e::{Gateway, Plan, Refusal};

const TOKEN: &str = "token-of-the-labeling-service";

fn plan() -> Plan {
    Plan::new()
        .environment("SERVICE_TOKEN", TOKEN)
        .clients("client labeling-service env:SERVICE_TOKEN priority=5;")
}

/// A refusal costs no key and reaches no upstream.
#[track_caller]
fn assert_refused(gateway: &Gateway, refusals: usize) {
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    for line in gateway.logged(refusals) {
        assert_eq!(
            (line.lease_status.as_str(), line.key_id.as_str()),
            ("none", "")
        );
        assert_eq!((line.service.as_str(), line.role.as_str()), ("", ""));
    }
}

#[test]
fn a_request_without_a_token_is_refused() {
    let gateway = plan().start();
    let answer = gateway.chat().send();
    assert_eq!(answer.refusal(), Refusal::invalid_api_key());
    let answer = gateway.get("/v1/models").send();
    assert_eq!(answer.refusal(), Refusal::invalid_api_key());
    assert_refused(&gateway, 2);
}

#[test]
fn a_wrong_token_is_refused() {
    let gateway = plan().start();
    let wrong = [
        "Bearer wrong".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        String::new(),
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        format!("Token {TOKEN}"),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]),
        format!("Bearer {TOKEN} {TOKEN}"),
        format!("Bearer,{TOKEN}"),
        format!("Bearer {}", TOKEN.to_uppercase()),
    ];
    for value in &wrong {
        let answer = gateway.chat().header("authorization", value).send();
        assert_eq!(answer.refusal(), Refusal::invalid_api_key(), "{value}");
    }
    assert_refused(&gateway, wrong.len());
}

#[test]
fn the_scheme_is_recognized_in_any_case() {
    let gateway = plan().start();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let call = gateway
            .chat()
            .header("authorization", &format!("{scheme} {TOKEN}"));
        call.send().expect_status(200);
    }
}

#[test]
fn a_keep_alive_connection_survives_a_refusal() {
    let gateway = plan().start();
    let call = gateway.chat().keep_alive();
    for _ in 0..3 {
        call.send().expect_status(401);
        call.clone().token(TOKEN).send().expect_status(200);
    }
}

#[test]
fn every_client_is_known_by_its_name_and_role() {
    let gateway = Plan::new()
        .environment("SERVICE_TOKEN", TOKEN)
        .environment("OTHER_TOKEN", "token-of-another")
        .file("ops.token", "# of the operators\n\n  token-of-ops  \n")
        .clients(
            "client labeling-service env:SERVICE_TOKEN;
             client another env:OTHER_TOKEN role=service priority=9;
             client ops file:{dir}/ops.token role=admin;",
        )
        .start();
    let known = [
        (TOKEN, "labeling-service", "service"),
        ("token-of-another", "another", "service"),
        ("token-of-ops", "ops", "admin"),
    ];
    for (token, ..) in known {
        gateway.chat().token(token).send().expect_status(200);
    }
    for (line, (_, service, role)) in gateway.logged(known.len()).iter().zip(known) {
        assert_eq!((line.service.as_str(), line.role.as_str()), (service, role));
    }
}

#[test]
fn without_clients_no_token_is_wanted() {
    let gateway = Plan::new().start();
    gateway.chat().send().expect_status(200);
    assert_eq!(gateway.logged(1)[0].service, "");
}

#[test]
fn a_location_with_auth_off_wants_no_token() {
    let gateway = plan()
        .server("location /v1/open/ { openai main; openai_auth off; proxy_pass http://upstream; }")
        .start();
    gateway.get("/v1/open/door").send().expect_status(200);
    gateway.get("/v1/closed/door").send().expect_status(401);
}

#[test]
fn auth_on_guards_a_location_without_a_pool() {
    let gateway = plan()
        .server("location /plain { openai_auth on; proxy_pass http://upstream/v1/plain; }")
        .start();
    gateway.get("/plain").send().expect_status(401);
    gateway.get("/plain").token(TOKEN).send().expect_status(200);
    let lines = gateway.logged(2);
    assert_eq!(
        (lines[1].lease_status.as_str(), lines[1].key_id.as_str()),
        ("none", "")
    );
}

#[test]
fn with_satisfy_any_an_allowed_address_needs_no_token() {
    let gateway = plan()
        .location("satisfy any; allow 127.0.0.1; deny all;")
        .server("location = /metrics { openai_auth off; access_log off; openai_metrics; }")
        .start();
    gateway.chat().send().expect_status(200);
    gateway.chat().token("wrong").send().expect_status(200);
    let lines = gateway.logged(2);
    assert!(lines.iter().all(|line| line.key_id == "main"));
    let metrics = gateway.get("/metrics").send().expect_status(200);
    let series = "openai_pool_requests_total{pool=\"main\",status=\"success\"} 2";
    assert!(metrics.text().contains(series), "{}", metrics.text());
}

#[test]
fn with_satisfy_any_a_token_opens_to_a_denied_address() {
    let gateway = plan().location("satisfy any; deny all;").start();
    gateway.chat().token(TOKEN).send().expect_status(200);
    assert_eq!(gateway.chat().send().refusal(), Refusal::invalid_api_key());
    assert_eq!(gateway.mock().stats().totals.requests, 1);
}

#[test]
fn with_satisfy_all_a_token_does_not_open_to_a_denied_address() {
    let gateway = plan().location("deny all;").start();
    let refusal = gateway.chat().token(TOKEN).send().refusal();
    assert_eq!(refusal, Refusal::new(403, "invalid_request_error", None));
    assert_eq!(gateway.mock().stats().totals.requests, 0);
}

#[test]
fn auth_request_is_asked_as_well() {
    let gateway = plan()
        .location("auth_request /judge;")
        .server(
            "location = /judge { internal; if ($http_x_verdict != yes) { return 403; } return 204; }",
        )
        .proxied("proxy_pass http://upstream;")
        .start();
    let call = gateway.chat().header("x-verdict", "yes");
    call.clone().token(TOKEN).send().expect_status(200);
    assert_eq!(call.send().refusal(), Refusal::invalid_api_key());
    gateway.chat().token(TOKEN).send().expect_status(403);
    assert_eq!(gateway.mock().stats().totals.requests, 1);
}

#[test]
fn limit_req_refuses_before_a_key_is_leased() {
    let gateway = plan()
        .http("limit_req_zone $binary_remote_addr zone=calls:1m rate=1r/m; limit_req_status 429;")
        .location("limit_req zone=calls;")
        .start();
    gateway.chat().token(TOKEN).send().expect_status(200);
    let refusal = gateway.chat().token(TOKEN).send().refusal();
    assert_eq!(refusal.status, 429);
    assert_eq!(gateway.mock().stats().totals.requests, 1);
    assert_eq!(gateway.logged(2)[1].lease_status, "none");
}

#[test]
fn error_page_has_its_way_with_a_refusal() {
    let gateway = plan()
        .location("error_page 401 = @login;")
        .server("location @login { return 303 https://login.example/; }")
        .start();
    let answer = gateway.chat().send().expect_status(303);
    assert_eq!(answer.header("location"), Some("https://login.example/"));
}

#[test]
fn error_page_may_change_the_status_of_a_refusal() {
    let gateway = plan()
        .location("error_page 401 =418 /teapot;")
        .server("location = /teapot { internal; return 200 short-and-stout; }")
        .start();
    let answer = gateway.chat().send();
    assert_eq!((answer.status, answer.text()), (418, "short-and-stout"));
}
