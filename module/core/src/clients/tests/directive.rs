//! `client` lines of the configuration.

use super::{TOKEN, directive, mistake, owner};
use crate::clients::{ClientError, Clients, Role};
use crate::keys::OptionError;

#[test]
fn a_directive_has_a_name_a_source_and_options() {
    let full = directive(&[
        "ops",
        "file:/etc/nginx/ops.token",
        "priority=-5",
        "role=admin",
    ]);
    assert_eq!(full.name, "ops");
    assert_eq!(full.source.to_string(), "file:/etc/nginx/ops.token");
    assert_eq!((full.role, full.priority), (Role::Admin, -5));
    let least = directive(&["labeling-service", "env:SERVICE_TOKEN"]);
    assert_eq!(least.source.to_string(), "env:SERVICE_TOKEN");
    assert_eq!((least.role, least.priority), (Role::Service, 0));
    for (priority, value) in [("priority=-1000", -1000), ("priority=1000", 1000)] {
        assert_eq!(directive(&["a", "env:T", priority]).priority, value);
    }
}

#[test]
fn a_wrong_directive_is_explained() {
    assert_eq!(mistake(&[]), ClientError::Incomplete);
    assert_eq!(mistake(&["ops"]), ClientError::Incomplete);
    assert_eq!(
        mistake(&["a b", "env:T"]),
        ClientError::Name("a b".to_owned())
    );
    for (option, message) in [
        (
            "role=root",
            r#"invalid role "root": service or admin expected"#,
        ),
        (
            "role=Admin",
            r#"invalid role "Admin": service or admin expected"#,
        ),
        (
            "priority=1001",
            r#"invalid priority "1001": a number from -1000 to 1000 expected"#,
        ),
        (
            "priority=high",
            r#"invalid priority "high": a number from -1000 to 1000 expected"#,
        ),
        (
            "slots=1",
            r#"unknown option "slots", it must be one of role=, priority="#,
        ),
        (
            "admin",
            "parameter 3 is not an option, it must be one of role=, priority=",
        ),
    ] {
        assert_eq!(mistake(&["ops", "env:T", option]).to_string(), message);
    }
    let twice = mistake(&["ops", "env:T", "role=admin", "role=service"]);
    assert_eq!(twice, OptionError::Repeated("role").into());
}

#[test]
fn a_token_is_not_written_into_the_configuration() {
    for source in [TOKEN, "env:", "file:", "env:tok-Secret"] {
        let error = mistake(&["ops", source]);
        assert_eq!(error, ClientError::Source("ops".to_owned()));
        assert!(!format!("{error} {error:?}").contains("Secret"));
    }
}

#[test]
fn a_file_holds_the_token_on_its_first_line_of_text() {
    let mut clients = Clients::default();
    let text = "\u{feff}# of ops\r\n\r\n  tok-Secret-1 \r\ntok-Secret-2\n";
    clients
        .add(&directive(&["ops", "file:ops.token", "role=admin"]), text)
        .expect("a client");
    assert_eq!(owner(&clients, b"tok-Secret-1"), Some("ops"));
    assert_eq!(clients.find(b"tok-Secret-2"), None);
}
