mod directive;
mod headers;
mod quota;
mod table;

use super::{ClientDirective, ClientError, Clients};

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

/// The name of the client with a token.
fn owner<'a>(clients: &'a Clients, token: &[u8]) -> Option<&'a str> {
    Some(&clients.as_slice()[clients.find(token)?].name)
}
