//! Who may call what.

use e2e::Call;
use serde_json::json;

use crate::bed::{ADMIN, Bed, COMPLETIONS, Config, SERVICE, STREAM};
use crate::case::{As, Case, check};

on_each_configuration!(
    health_and_the_pages_need_no_token,
    all_else_needs_a_token,
    a_service_reads_and_locks,
    only_an_administrator_ends_locks_of_others,
    a_token_comes_in_either_header,
);

/// Calls that want a token, and need nothing to be there.
fn reads() -> Vec<Case> {
    [
        "/",
        "/v1/locks/active",
        "/metrics",
        "/system/info",
        "/v1/stats",
        "/openapi.json",
    ]
    .map(Case::get)
    .to_vec()
}

fn locks() -> Vec<Case> {
    let unknown =
        json!({"lock_id": "00000000000000000000000000000000", "service_name": "labeling"});
    let acquire = json!({"service_name": "labeling", "resource_type": "openai_api"});
    vec![
        Case::post("/v1/lock/acquire", acquire),
        Case::post("/v1/lock/release", &unknown),
        Case::post("/v1/lock/extend", &unknown),
    ]
}

/// Calls of an administrator.
fn orders() -> Vec<Case> {
    let id = "00000000000000000000000000000000";
    vec![
        Case::new("DELETE", format!("/v1/locks/{id}/force-release")),
        Case::post("/v1/maintenance/cleanup-expired", "{}"),
    ]
}

fn health_and_the_pages_need_no_token(config: Config) {
    let bed = Bed::start(config);
    let page = |path: &str| Case::get(path).answers("content-type", "text/html; charset=utf-8");
    check(
        &bed,
        &[
            Case::get("/health").shape(json!({"status": "healthy", "version": "<text>"})),
            page("/status"),
            page("/docs"),
            page("/redoc"),
        ],
    );
    // Whoever sends a token that is none is served as well: a monitor may be older than the token.
    check(&bed, &[Case::get("/health").by(As::Stranger)]);
    bed.end();
}

fn all_else_needs_a_token(config: Config) {
    let bed = Bed::start(config);
    let upstream = [
        Case::post(COMPLETIONS, STREAM),
        Case::get("/v1/models"),
        Case::get("/v1/anything/else"),
    ];
    let all = [reads(), locks(), orders(), upstream.to_vec()].concat();
    for who in [As::Nobody, As::Stranger, As::StrangerToken] {
        let refused = |case: &Case| {
            let case = case.clone().by(who);
            case.error(401, "invalid_request_error", "invalid_api_key")
        };
        check(&bed, &all.iter().map(refused).collect::<Vec<_>>());
    }
    // A token by itself is no header of HTTP authentication, nor is it one of another scheme.
    for value in [
        SERVICE.to_owned(),
        format!("Basic {SERVICE}"),
        format!("Bearer {SERVICE}x"),
    ] {
        let case = Case::post(COMPLETIONS, STREAM).with("authorization", &value);
        check(
            &bed,
            &[case.error(401, "invalid_request_error", "invalid_api_key")],
        );
    }
    assert_eq!(bed.mock.stats().totals.requests, 0, "nothing goes upstream");
    bed.end();
}

fn a_service_reads_and_locks(config: Config) {
    let bed = Bed::start(config);
    for who in [As::Service, As::ServiceToken, As::Admin, As::AdminToken] {
        check(
            &bed,
            &reads()
                .into_iter()
                .map(|case| case.by(who))
                .collect::<Vec<_>>(),
        );
    }
    let lock = bed.lock(json!({}));
    let own = json!({"lock_id": lock["lock_id"], "service_name": "labeling"});
    check(
        &bed,
        &[
            Case::post("/v1/lock/extend", &own).by(As::Service),
            Case::post("/v1/lock/release", &own).by(As::ServiceToken),
        ],
    );
    bed.end();
}

fn only_an_administrator_ends_locks_of_others(config: Config) {
    let bed = Bed::start(config);
    let lock = bed.lock(json!({}));
    let id = lock["lock_id"].as_str().expect("an id");
    let force = Case::new("DELETE", format!("/v1/locks/{id}/force-release"));
    let clean = Case::post("/v1/maintenance/cleanup-expired", "{}");
    for who in [As::Service, As::ServiceToken] {
        let refused = |case: &Case| {
            let case = case.clone().by(who);
            case.error(403, "invalid_request_error", "admin_required")
        };
        check(&bed, &[refused(&force), refused(&clean)]);
    }
    let listed = bed.get_as_admin("/v1/locks/active").json();
    assert_eq!(
        listed["locks"][0]["lock_id"], id,
        "it is still held: {listed}"
    );
    check(
        &bed,
        &[
            force
                .by(As::Admin)
                .shape(json!({"success": true, "timestamp": "<time>"})),
            clean
                .clone()
                .by(As::Admin)
                .shape(json!({"success": true, "timestamp": "<time>"})),
            clean.by(As::AdminToken),
        ],
    );
    bed.wait_free();
    bed.end();
}

fn a_token_comes_in_either_header(config: Config) {
    let bed = Bed::start(config);
    let ask = |name: &str, value: &str| {
        let call = Call::json(bed.url(COMPLETIONS), STREAM).header(name, value);
        call.header("x-mock-deny-token", value.trim_start_matches("Bearer "))
            .send()
    };
    for token in [SERVICE, ADMIN] {
        for (name, value) in [
            ("authorization", format!("Bearer {token}")),
            ("authorization", format!("bearer {token}")),
            ("Authorization", format!("Bearer  {token}")),
            ("x-service-token", token.to_owned()),
            ("X-Service-Token", token.to_owned()),
        ] {
            assert_eq!(ask(name, &value).status, 200, "{name}");
        }
    }
    assert_eq!(
        bed.mock.stats().forbidden_tokens,
        0,
        "no token goes upstream"
    );
    bed.end();
}
