//! What has been used since a day, and how much may be.

mod figures;
mod quotas;
mod restarts;

use e2e::{Answer, Gateway, Plan};
use serde_json::Value;

use crate::usage::{PRICES, counters};

const ADMIN: &str = "token-of-an-admin";
const KEYS: &str = "key sk-e2e-stats-1 id=k1 slots=4;\nkey sk-e2e-stats-2 id=k2 slots=4;";

/// Two workers, the services `app` and `batch`, the administrator `ops`, and more in the block of
/// the clients.
fn plan(more: &str) -> Plan {
    Plan::new()
        .workers(2)
        .pool("main", KEYS)
        .clients(&format!(
            "client app env:TOKEN_A;\nclient batch env:TOKEN_B;\n\
             client ops env:TOKEN_C role=admin;\n{more}"
        ))
        .environment("TOKEN_A", counters::TOKENS[0])
        .environment("TOKEN_B", counters::TOKENS[1])
        .environment("TOKEN_C", ADMIN)
        .file("prices.json", PRICES)
        .http("openai_prices {dir}/prices.json;")
        .server("location = /metrics { openai_auth off; openai_metrics; }")
        .server("location ~ ^/v1/(stats$|lock/) { openai_api on; }")
}

fn ask(gateway: &Gateway, token: &str, query: &str) -> Answer {
    let call = gateway.get(&format!("/v1/stats{query}"));
    call.token(token).send()
}

#[track_caller]
fn stats(gateway: &Gateway, token: &str, query: &str) -> Value {
    ask(gateway, token, query).expect_status(200).json()
}

/// How many requests have been counted.
fn requests(gateway: &Gateway) -> u64 {
    stats(gateway, ADMIN, "")["total"]["requests"]
        .as_u64()
        .expect("a number")
}

/// The sum of a number over the lines of a table.
fn sum(stats: &Value, table: &str, pointer: &str) -> f64 {
    let lines = stats[table].as_array().expect("a table").iter();
    lines
        .map(|line| line.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0))
        .sum()
}
