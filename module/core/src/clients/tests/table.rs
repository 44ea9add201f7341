//! Clients by token.

use openai_wire::error::ApiError;

use super::{TOKEN, clients, owner};
use crate::clients::{ClientError, Clients, Role, TokenError};

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
        assert_eq!(refused(token), ClientError::InvalidToken(name.clone()));
        assert!(!refused(token).to_string().contains("tok-"));
    }
    assert_eq!(refused("1234567"), ClientError::ShortToken(name.clone()));
    assert!(clients(&[("a", "12345678")]).is_ok());
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
        assert_eq!(owner(&clients, token.as_bytes()), Some(*name));
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
    assert_eq!(same_name.err(), Some(ClientError::SameName("a".to_owned())));
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
    let plain = plain.with_dev_mode(false).expect("clients");
    assert_eq!(plain.as_slice().len(), 1);
    let dev = plain.with_dev_mode(true).expect("clients");
    let role = |token| {
        let client = &dev.as_slice()[dev.find(token)?];
        Some((&*client.name, client.role))
    };
    assert_eq!(role(b"dev-token"), Some(("dev", Role::Service)));
    assert_eq!(role(b"admin-token"), Some(("dev-admin", Role::Admin)));
    assert_eq!(role(TOKEN.as_bytes()), Some(("a", Role::Service)));
    let taken = clients(&[("dev", TOKEN)]).and_then(|clients| clients.with_dev_mode(true));
    assert_eq!(taken.err(), Some(ClientError::SameName("dev".to_owned())));
}

#[test]
fn a_client_may_have_a_development_token_in_development_only() {
    for token in ["dev-token", "admin-token"] {
        let clients = clients(&[("a", token)]).expect("clients");
        let dev = clients.clone().with_dev_mode(true).expect("clients");
        assert_eq!(dev.find(token.as_bytes()), Some(0));
        assert_eq!(dev.as_slice().len(), 2);
        let name = "a".to_owned();
        assert_eq!(
            clients.with_dev_mode(false).err(),
            Some(ClientError::DevToken(name))
        );
    }
}

#[test]
fn a_request_is_identified_by_either_header() {
    let clients = clients(&[("a", "token-0001"), ("b", "token-0002")]).expect("clients");
    let who = |bearer: Option<&str>, service: Option<&str>| {
        let client = clients.identify(bearer.map(str::as_bytes), service.map(str::as_bytes));
        client.map(|at| &*clients.as_slice()[at].name)
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
