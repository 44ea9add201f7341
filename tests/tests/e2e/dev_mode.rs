//! The tokens of development.

use e2e::{Plan, Refusal};

fn plan() -> Plan {
    Plan::new()
        .environment("SERVICE_TOKEN", "token-of-a-service")
        .clients("client app env:SERVICE_TOKEN;")
}

#[test]
fn in_dev_mode_the_two_tokens_are_accepted() {
    let gateway = plan().environment("DEV_MODE", "true").start();
    for token in ["dev-token", "admin-token", "token-of-a-service"] {
        gateway.chat().token(token).send().expect_status(200);
    }
    let lines = gateway.logged(3);
    let known: Vec<_> = lines
        .iter()
        .map(|line| (line.service.as_str(), line.role.as_str()))
        .collect();
    assert_eq!(
        known,
        [
            ("dev", "service"),
            ("dev-admin", "admin"),
            ("app", "service")
        ]
    );
}

#[test]
fn in_dev_mode_a_wrong_token_is_still_wrong() {
    let gateway = plan().environment("DEV_MODE", "true").start();
    assert_eq!(
        gateway.chat().token("wrong").send().refusal(),
        Refusal::invalid_api_key()
    );
    assert_eq!(gateway.chat().send().refusal(), Refusal::invalid_api_key());
}

#[test]
fn otherwise_the_two_tokens_are_refused() {
    for value in [
        None,
        Some(""),
        Some("false"),
        Some("0"),
        Some("1"),
        Some("truest"),
    ] {
        let plan = plan();
        let gateway = match value {
            Some(value) => plan.environment("DEV_MODE", value).start(),
            None => plan.start(),
        };
        for token in ["dev-token", "admin-token"] {
            let refusal = gateway.chat().token(token).send().refusal();
            assert_eq!(refusal, Refusal::invalid_api_key(), "{value:?}");
        }
        assert_eq!(gateway.mock().stats().totals.requests, 0);
    }
}

#[test]
fn in_dev_mode_the_two_tokens_may_be_those_of_clients() {
    let plan = Plan::new()
        .environment("SERVICE_TOKEN", "dev-token")
        .clients("client app env:SERVICE_TOKEN;");
    let gateway = plan.clone().environment("DEV_MODE", "true").start();
    for token in ["dev-token", "admin-token"] {
        gateway.chat().token(token).send().expect_status(200);
    }
    let lines = gateway.logged(2);
    let known: Vec<_> = lines.iter().map(|line| line.service.as_str()).collect();
    assert_eq!(known, ["app", "dev-admin"]);
    let test = plan.check();
    assert!(!test.ok);
    assert!(test.output.contains("DEV_MODE"), "{}", test.output);
}

#[test]
fn dev_mode_survives_a_reload() {
    let mut gateway = plan().environment("DEV_MODE", "true").start();
    gateway.reload(|plan| plan);
    gateway.chat().token("dev-token").send().expect_status(200);
}
