use openai_wire::error::ApiError;

use super::{Client, ClientDirective, ClientError, Clients, Role, TokenError, TokenSource};
use super::{Quota, QuotaDirective, Whose};
use super::{bearer_token, is_credential_header, secret_of, service_token, tells_secret};
use crate::keys::OptionError;

const TOKEN: &str = "tok-Secret-1";

fn directive(parameters: &[&str]) -> ClientDirective {
    ClientDirective::parse(parameters).expect("a valid directive")
}

fn mistake(parameters: &[&str]) -> ClientError {
    ClientDirective::parse(parameters).expect_err("a mistake")
}

/// Clients by name and token.
fn clients(tokens: &[(&str, &str)]) -> Result<Clients, ClientError> {
    let mut clients = Clients::default();
    for (name, token) in tokens {
        clients.add(&directive(&[name, "env:TOKEN"]), token)?;
    }
    Ok(clients)
}

fn name_of(client: Option<&Client>) -> Option<&str> {
    client.map(|client| &*client.name)
}

#[test]
fn a_directive_has_a_name_a_source_and_options() {
    let full = directive(&[
        "ops",
        "file:/etc/nginx/ops.token",
        "priority=-5",
        "role=admin",
    ]);
    assert_eq!(full.name, "ops");
    assert_eq!(
        full.source,
        TokenSource::File("/etc/nginx/ops.token".to_owned())
    );
    assert_eq!((full.role, full.priority), (Role::Admin, -5));
    let least = directive(&["labeling-service", "env:SERVICE_TOKEN"]);
    assert_eq!(least.source, TokenSource::Env("SERVICE_TOKEN".to_owned()));
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
        ClientError::Name {
            name: "a b".to_owned()
        }
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
        ("slots=1", r#"unknown option "slots""#),
        ("admin", "parameter 3 is not an option"),
    ] {
        assert_eq!(mistake(&["ops", "env:T", option]).to_string(), message);
    }
    let twice = mistake(&["ops", "env:T", "role=admin", "role=service"]);
    assert_eq!(twice, OptionError::Repeated { name: "role" }.into());
}

#[test]
fn a_token_is_not_written_into_the_configuration() {
    for source in [TOKEN, "env:", "file:", "env:tok-Secret"] {
        let error = mistake(&["ops", source]);
        assert_eq!(
            error,
            ClientError::Source {
                name: "ops".to_owned()
            }
        );
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
    assert_eq!(name_of(clients.find(b"tok-Secret-1")), Some("ops"));
    assert_eq!(clients.find(b"tok-Secret-2"), None);
}

#[test]
fn a_token_is_one_that_can_be_sent_and_not_guessed() {
    let name = "a".to_owned();
    let refused = |token| clients(&[("a", token)]).expect_err("a mistake");
    let place = "env:TOKEN".to_owned();
    assert_eq!(
        refused(" \n"),
        ClientError::NoToken {
            name: name.clone(),
            place
        }
    );
    for token in [
        "tok Secret",
        "tok-Secret\r\nX: 1",
        "tok-Sécret",
        "tok-Secret\0",
    ] {
        assert_eq!(
            refused(token),
            ClientError::InvalidToken { name: name.clone() }
        );
        assert!(!refused(token).to_string().contains("tok-"));
    }
    assert_eq!(
        refused("1234567"),
        ClientError::ShortToken { name: name.clone() }
    );
    assert!(clients(&[("a", "12345678")]).is_ok());
    for token in ["dev-token", "admin-token"] {
        assert_eq!(refused(token), ClientError::DevToken { name: name.clone() });
    }
}

#[test]
fn each_token_finds_its_client() {
    let tokens: Vec<_> = (0..50)
        .map(|n| (format!("client-{n}"), format!("token-{n:04}")))
        .collect();
    let pairs: Vec<_> = tokens
        .iter()
        .map(|(name, token)| (&**name, &**token))
        .collect();
    let clients = clients(&pairs).expect("clients");
    for (name, token) in &pairs {
        assert_eq!(name_of(clients.find(token.as_bytes())), Some(*name));
    }
    for token in [
        &b""[..],
        b"token-0050",
        b"token-000",
        b"token-00000",
        b"TOKEN-0000",
    ] {
        assert_eq!(clients.find(token), None);
    }
    assert_eq!(Clients::default().find(b"token-0000"), None);
}

#[test]
fn clients_differ_in_name_and_token() {
    let same_name = clients(&[("a", "token-0001"), ("a", "token-0002")]);
    assert_eq!(
        same_name.err(),
        Some(ClientError::SameName {
            name: "a".to_owned()
        })
    );
    let same_token = clients(&[("a", TOKEN), ("b", TOKEN)]).expect_err("a mistake");
    let (first, second) = ("a".to_owned(), "b".to_owned());
    assert_eq!(same_token, ClientError::SameToken { first, second });
    assert!(!same_token.to_string().contains("Secret"));
}

#[test]
fn development_tokens_count_only_when_asked_for() {
    let plain = clients(&[("a", TOKEN)]).expect("clients");
    assert_eq!(plain.find(b"dev-token"), None);
    assert_eq!(plain.find(b"admin-token"), None);
    let dev = plain.with_dev_tokens().expect("clients");
    let role = |token| dev.find(token).map(|client| (&*client.name, client.role));
    assert_eq!(role(b"dev-token"), Some(("dev", Role::Service)));
    assert_eq!(role(b"admin-token"), Some(("dev-admin", Role::Admin)));
    assert_eq!(role(TOKEN.as_bytes()), Some(("a", Role::Service)));
    let taken = clients(&[("dev", TOKEN)]).and_then(Clients::with_dev_tokens);
    assert_eq!(
        taken.err(),
        Some(ClientError::SameName {
            name: "dev".to_owned()
        })
    );
}

#[test]
fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
    for value in ["Bearer abc", "bearer abc", "BEARER   abc", "Bearer\tabc \t"] {
        assert_eq!(
            bearer_token(value.as_bytes()),
            Some(&b"abc"[..]),
            "{value:?}"
        );
    }
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearerabc",
        "Basic abc",
        "abc",
        "Bearer a b",
        "Bearer a\0",
    ] {
        assert_eq!(bearer_token(value.as_bytes()), None, "{value:?}");
    }
    assert_eq!(service_token(b" abc "), Some(&b"abc"[..]));
    assert_eq!(service_token(b""), None);
    assert_eq!(service_token(b"a b"), None);
}

#[test]
fn a_request_is_identified_by_either_header() {
    let clients = clients(&[("a", "token-0001"), ("b", "token-0002")]).expect("clients");
    let who = |bearer: Option<&str>, service: Option<&str>| {
        let client = clients.identify(bearer.map(str::as_bytes), service.map(str::as_bytes));
        client.map(|client| &*client.name)
    };
    assert_eq!(who(Some("Bearer token-0001"), None), Ok("a"));
    assert_eq!(who(None, Some("token-0002")), Ok("b"));
    assert_eq!(who(Some("Bearer token-0001"), Some("token-0002")), Ok("a"));
    assert_eq!(who(Some("Bearer sk-unused"), Some("token-0002")), Ok("b"));
    assert_eq!(who(Some("Basic dTpw"), Some("token-0002")), Ok("b"));
    assert_eq!(who(None, None), Err(TokenError::Missing));
    assert_eq!(who(Some("Basic dTpw"), Some("")), Err(TokenError::Missing));
    assert_eq!(
        who(Some("Bearer token-0003"), None),
        Err(TokenError::Unknown)
    );
    assert_eq!(
        who(Some("Bearer token-0003"), Some("token-0004")),
        Err(TokenError::Unknown)
    );
}

#[test]
fn the_errors_of_tokens_are_answered_with_401() {
    for error in [TokenError::Missing, TokenError::Unknown] {
        assert_eq!(ApiError::from(error).status(), 401);
    }
    assert_ne!(
        ApiError::from(TokenError::Missing),
        ApiError::from(TokenError::Unknown)
    );
}

#[test]
fn a_client_does_not_show_its_digest() {
    let clients = clients(&[("a", TOKEN)]).expect("clients");
    let shown = format!("{clients:?}");
    assert!(
        shown.contains("\"a\"") && !shown.contains("digest"),
        "{shown}"
    );
}

fn quota(parameters: &[&str]) -> Result<QuotaDirective, ClientError> {
    QuotaDirective::parse(parameters)
}

#[test]
fn a_quota_has_bounds_or_is_off() {
    let all = quota(&["*", "tokens=1000000/day", "cost=50/month", "tokens=0/month"]).unwrap();
    assert_eq!(all.whose, Whose::All);
    let limits = all.quota.limits().iter();
    let limits: Vec<_> = limits.map(|l| (l.measure(), l.most, l.period())).collect();
    let expected = [
        ("tokens", 1_000_000, "day"),
        ("cost", 50_000_000_000_000, "month"),
        ("tokens", 0, "month"),
    ];
    assert_eq!(limits, expected);
    for (dollars, units) in [
        ("0.000000000001", 1),
        ("2.50", 2_500_000_000_000),
        ("18446744.073709551615", u64::MAX),
    ] {
        let cost = quota(&["app", &format!("cost={dollars}/day")]).unwrap();
        assert_eq!(cost.quota.limits()[0].most, units, "{dollars}");
    }
    assert_eq!(quota(&["app", "off"]).unwrap().quota, Quota::default());
}

#[test]
fn a_wrong_quota_is_explained() {
    for words in [&[][..], &["*"]] {
        assert_eq!(quota(words), Err(ClientError::NoQuota));
    }
    assert!(matches!(
        quota(&["a b", "off"]),
        Err(ClientError::Name { .. })
    ));
    for (option, message) in [
        (
            "tokens=5",
            "invalid tokens \"5\": a number, as 1000000/month expected",
        ),
        (
            "tokens=+5/day",
            "invalid tokens \"+5/day\": a number, as 1000000/month expected",
        ),
        (
            "tokens=5/week",
            "invalid tokens \"5/week\": a number, as 1000000/month expected",
        ),
        (
            "requests=/day",
            "invalid requests \"/day\": a number, as 1000/day expected",
        ),
        (
            "requests=1.5/day",
            "invalid requests \"1.5/day\": a number, as 1000/day expected",
        ),
        (
            "cost=1e9/day",
            "invalid cost \"1e9/day\": dollars, as 2.50/day expected",
        ),
        (
            "cost=1./day",
            "invalid cost \"1./day\": dollars, as 2.50/day expected",
        ),
        (
            "cost=18446745/day",
            "invalid cost \"18446745/day\": dollars, as 2.50/day expected",
        ),
        (
            "cost=0.0000000000001/day",
            "invalid cost \"0.0000000000001/day\": dollars, as 2.50/day expected",
        ),
        ("slots=1/day", "unknown option \"slots\""),
        ("off", "parameter 2 is not an option"),
    ] {
        let error = quota(&["app", option, "requests=1/month"]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let twice = quota(&["app", "tokens=1/day", "tokens=2/day"]).unwrap_err();
    assert_eq!(twice, OptionError::Repeated { name: "tokens" }.into());
}

#[test]
fn a_quota_by_name_is_in_place_of_the_one_for_all() {
    let lines = |lines: &[&[&str]]| -> Vec<_> {
        lines
            .iter()
            .map(|words| quota(words).expect("a quota"))
            .collect()
    };
    let mut three = clients(&[
        ("a", "token-of-a"),
        ("b", "token-of-b"),
        ("c", "token-of-c"),
    ])
    .unwrap();
    let all = lines(&[
        &["b", "requests=1/day"],
        &["*", "tokens=2/day", "cost=3/day"],
        &["c", "off"],
    ]);
    three.bound(&all).unwrap();
    let counts: Vec<_> = three
        .as_slice()
        .iter()
        .map(|c| c.quota.limits().len())
        .collect();
    assert_eq!(counts, [2, 1, 0]);
    for (wrong, message) in [
        (
            lines(&[&["*", "off"], &["*", "off"]]),
            "two quotas for \"*\"",
        ),
        (
            lines(&[&["a", "off"], &["a", "off"]]),
            "two quotas for \"a\"",
        ),
        (lines(&[&["d", "off"]]), "quota for unknown client \"d\""),
    ] {
        assert_eq!(three.bound(&wrong).unwrap_err().to_string(), message);
    }
}

#[test]
fn credentials_are_known_by_the_names_of_their_headers() {
    for name in [
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "X-Service-Token",
        "X_Service_Token",
        "x_service-token",
        "x-api-key",
        "X_API_KEY",
        "api-key",
        "Api_Key",
    ] {
        assert!(is_credential_header(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        "Accept",
        "x-api-key2",
        "api key",
        "X-Request-ID",
        "x-api.key",
    ] {
        assert!(!is_credential_header(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_header_tells_a_secret_wherever_it_is_in_it() {
    for (credential, secret) in [
        ("Bearer tok-Secret-1", TOKEN),
        ("bearer \ttok-Secret-1 ", TOKEN),
        ("tok-Secret-1", TOKEN),
        ("  ", ""),
        ("", ""),
    ] {
        assert_eq!(secret_of(credential.as_bytes()), secret.as_bytes());
    }
    let tells = |value: &str, secret: &str| tells_secret(value.as_bytes(), secret.as_bytes());
    for value in [
        "tok-Secret-1",
        "Bearer tok-Secret-1",
        "a=1; t=tok-Secret-1; b",
    ] {
        assert!(tells(value, TOKEN), "{value}");
    }
    for value in ["", "tok-Secret-", "tok-secret-1", "ok-Secret-1"] {
        assert!(!tells(value, TOKEN), "{value}");
    }
    assert!(!tells("application/json", ""), "nothing is no secret");
    assert!(!tells("application/json", "a"), "shorter than any token");
    assert!(tells("Bearer a", "a"));
    assert!(tells("a", "a"));
}
