//! Clients that leave in mid-answer: with `openai_client_abort drain` it is read to its end, so
//! that its usage is known.

mod bounds;
mod clients;
mod http2;
mod lifetimes;

use e2e::{Exchange, Gateway, LogLine, Plan, RawUpstream, post};

/// What a stream says of its usage.
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":222}}"#;
const EXACT: (&str, &str, &str) = ("11", "222", "exact");
const JSON: &str = "Content-Type: application/json\r\n";
const CHAT: &str = r#"{"model":"gpt-4o","stream":true,"messages":[{"content":"hello"}]}"#;
/// What nginx notes when it sees that a client has left.
const LEFT: &str = "client prematurely closed connection";

fn plan() -> Plan {
    bounded("")
}

/// A gateway that reads on within these bounds.
fn bounded(bounds: &str) -> Plan {
    Plan::new()
        .location(&format!("openai_client_abort drain {bounds};"))
        .server("location = /metrics { openai_metrics; access_log off; }")
}

fn start(plan: Plan) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    (plan.upstream(upstream.address()).start(), upstream)
}

/// One piece of a stream.
fn word(text: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#)
}

/// A stream that has begun, whose client has left it, as nginx has seen.
#[track_caller]
fn left_alone(gateway: &Gateway, upstream: &RawUpstream) -> Exchange {
    let mut client = gateway.connect();
    client.send(post(JSON, CHAT));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event(&word("first"));
    client.read_until("first");
    drop(client);
    gateway.error_log().wait_for(LEFT);
    exchange
}

/// The rest of a stream, with its usage.
fn finish(exchange: &mut Exchange) {
    exchange.event(&word("second")).event(USAGE).end_stream();
}

fn used(line: &LogLine) -> (&str, &str, &str) {
    (&line.prompt_tokens, &line.completion_tokens, &line.usage)
}

/// The only request is logged with the usage that the upstream has reported, and counted as one whose
/// client left; its slot is free.
#[track_caller]
fn assert_exact(gateway: &Gateway, status: u16) {
    let line = &gateway.logged(1)[0];
    assert_eq!((used(line), line.status), (EXACT, status));
    assert_counted(gateway, "aborted");
    gateway.wait_held(0, 0);
}

/// The only request is logged with what was seen of it.
#[track_caller]
fn assert_estimated(gateway: &Gateway) {
    let line = &gateway.logged(1)[0];
    assert_eq!(line.usage, "estimated");
    assert_counted(gateway, "aborted");
    gateway.wait_held(0, 0);
}

#[track_caller]
fn assert_counted(gateway: &Gateway, outcome: &str) {
    let line = format!("openai_service_requests_total{{service=\"\",status=\"{outcome}\"}} 1\n");
    // It is counted right after it is logged.
    e2e::wait_until(&format!("it is counted as {outcome}"), || {
        gateway.get("/metrics").send().text().contains(&line)
    });
}
