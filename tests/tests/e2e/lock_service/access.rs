//! Who sees what.

use e2e::{Call, Plan, Refusal, wait_until};
use mock_upstream::Scenario;
use serde_json::json;

use super::refusals::PATHS;
use super::{ADMIN, Bed, OTHER, STORES, Store, TOKEN};

/// What a location may say of who is let in; none of it opens the API.
const OPENINGS: [&str; 4] = [
    "openai_auth off;",
    "satisfy any; allow 127.0.0.1; deny all;",
    "satisfy any; allow 127.0.0.1; deny all; openai_auth off;",
    "satisfy any; auth_request /yes;",
];

fn opened(opening: &str) -> Bed {
    Bed::with(Store::Shm, 1, "", opening, |plan| {
        plan.server("location = /yes { internal; return 204; }")
    })
}

#[test]
fn every_call_wants_a_token_whatever_the_location_says() {
    for opening in OPENINGS {
        let bed = opened(opening);
        for (method, path, _) in PATHS {
            let call = Call::new(method, bed.gateway.url(path)).body("{}");
            let answer = call.send();
            assert_eq!(
                answer.refusal(),
                Refusal::invalid_api_key(),
                "{opening} {path}"
            );
            let answer = call.clone().token("wrong-token").send();
            assert_eq!(
                answer.refusal(),
                Refusal::invalid_api_key(),
                "{opening} {path}"
            );
            let status = call.token(ADMIN).send().status;
            assert!(status != 401 && status != 403, "{opening} {path}: {status}");
        }
        for path in ["/v1/status", "/v1/lock/none"] {
            let answer = bed.gateway.get(path).send();
            assert_eq!(
                answer.refusal(),
                Refusal::invalid_api_key(),
                "{opening} {path}"
            );
        }
        // How keys do is for administrators.
        let refusal = bed.get("/v1/status").send().refusal();
        assert_eq!(refusal.code.as_deref(), Some("admin_required"), "{opening}");
        for path in ["/health", "/status", "/docs", "/redoc"] {
            bed.gateway.get(path).send().expect_status(200);
        }
    }
}

#[test]
fn an_address_that_is_denied_is_denied() {
    let bed = Bed::with(Store::Shm, 1, "", "deny all;", |plan| plan);
    let answer = bed.get("/v1/locks/active").send();
    assert_eq!(answer.refusal().status, 403);
}

#[test]
fn a_service_sees_its_own_locks_and_requests() {
    for store in STORES {
        let bed = Bed::with(store, 3, "", "", |plan| {
            // Streams last until they are left.
            let scenario = Scenario::from_toml("delay = \"50ms\"\nwords = 100000");
            plan.scenario(scenario.expect("a scenario"))
        });
        let lock = bed.lock(json!({}));
        let mut streams = [TOKEN, OTHER].map(|token| bed.gateway.chat().token(token).events());
        for stream in &mut streams {
            stream.next().expect("a first event");
        }
        let kinds = |token| {
            let held = bed.active_for(token);
            let mut kinds: Vec<_> = held
                .iter()
                .map(|held| (held["client"].to_string(), held["kind"].to_string()))
                .collect();
            kinds.sort();
            kinds
        };
        let of = |client: &str, kind: &str| (json!(client).to_string(), json!(kind).to_string());
        let own = [of("labeling", "lock"), of("labeling", "request")];
        assert_eq!(kinds(TOKEN), own);
        assert_eq!(kinds(OTHER), [of("batch", "request")]);
        assert_eq!(kinds(ADMIN).len(), 3);
        drop(streams);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
    }
}

/// Two services that have used a key, and a client with a quota.
fn used(plan: Plan) -> Plan {
    plan.clients(
        "client labeling env:SERVICE_TOKEN;
         client batch env:OTHER_TOKEN;
         client ops env:ADMIN_TOKEN role=admin;
         quota labeling requests=10/day; quota batch requests=20/day;",
    )
    .server("location = /all { openai_auth on; openai_metrics; }")
    .server("location = /local { openai_auth on; satisfy any; allow 127.0.0.1; openai_metrics; }")
    .server("location = /open { openai_auth off; openai_metrics; }")
}

/// The names that the labels `service` of some metrics report, and how many other lines there are.
fn reported(bed: &Bed, path: &str, token: Option<&str>) -> (Vec<String>, Vec<String>) {
    let call = bed.gateway.get(path);
    let call = token.map_or(call.clone(), |token| call.token(token));
    let text = call.send().expect_status(200).text().to_owned();
    let (mut services, mut others) = (vec![], vec![]);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or((line, ""));
        let service = labels.split_once("service=\"").map(|(_, rest)| rest);
        match service.and_then(|rest| rest.split_once('"')) {
            Some((service, _)) => services.push(service.to_owned()),
            None => others.push(name.to_owned()),
        }
    }
    for names in [&mut services, &mut others] {
        names.sort();
        names.dedup();
    }
    (services, others)
}

#[test]
fn a_service_sees_its_own_figures() {
    let bed = Bed::with(Store::Shm, 1, "", "", used);
    for token in [TOKEN, OTHER] {
        bed.gateway.chat().token(token).send().expect_status(200);
    }
    wait_until("both are counted", || {
        reported(&bed, "/metrics", Some(ADMIN)).0.len() >= 2
    });
    for path in ["/metrics", "/all", "/local"] {
        let (services, others) = reported(&bed, path, Some(TOKEN));
        assert_eq!(services, ["labeling"], "{path}");
        for sums in [
            "openai_tokens_used_total",
            "http_requests_total",
            "openai_key_state",
        ] {
            assert!(!others.iter().any(|name| name == sums), "{path}: {sums}");
        }
        assert!(
            others
                .iter()
                .any(|name| name == "openai_service_active_locks"),
            "{path}"
        );
        assert_eq!(reported(&bed, path, Some(OTHER)).0, ["batch"], "{path}");
    }
    for (path, token) in [
        ("/metrics", Some(ADMIN)),
        ("/all", Some(ADMIN)),
        ("/local", None),
        ("/open", None),
    ] {
        let (services, others) = reported(&bed, path, token);
        for name in ["labeling", "batch"] {
            assert!(
                services.iter().any(|reported| reported == name),
                "{path}: {services:?}"
            );
        }
        for sums in [
            "openai_tokens_used_total",
            "http_requests_total",
            "openai_key_state",
        ] {
            assert!(others.iter().any(|name| name == sums), "{path}: {sums}");
        }
    }
}

/// `openai_metrics` has no rule of its own, as `openai_api` has: it is as open as its location.
#[test]
fn metrics_of_their_own_location_obey_it() {
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        used(plan).server("location = /denied { openai_auth off; deny all; openai_metrics; }")
    });
    for (path, status) in [
        ("/all", 401),
        ("/local", 200),
        ("/open", 200),
        ("/denied", 403),
    ] {
        bed.gateway.get(path).send().expect_status(status);
    }
}
