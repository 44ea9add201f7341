//! Allocations that fail.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{Answer, Fault, Faults, Gateway, Plan, Recorder, Refusal};

use super::{chat, plan, sweep};

/// Fewer allocations than that are no request.
const FEW: i64 = 20;

/// Its connection may break, but it does not hang.
fn send(gateway: &Gateway) -> Option<Answer> {
    match chat(gateway).try_send() {
        Err(ureq::Error::Timeout(what)) => panic!("no answer in time: {what}"),
        sent => sent.ok(),
    }
}

/// Every allocation of a request fails once.
#[track_caller]
fn survives(upstream: &Recorder, change: impl Fn(Plan) -> Plan) {
    let faults = Faults::new();
    let gateway = change(plan(&faults, upstream)).start();
    let failing = (&faults, Fault::Memory);
    let calls = sweep(failing, (&gateway, upstream), false, send);
    assert!(calls > FEW, "{calls}");
}

#[test]
fn a_request_whose_memory_ends_never_shows_the_clients_token_upstream() {
    let (faults, upstream) = (Faults::new(), Recorder::plain());
    let gateway = plan(&faults, &upstream).start();
    let failing = (&faults, Fault::Memory);
    sweep(failing, (&gateway, &upstream), true, send);
}

#[test]
fn an_if_block_without_memory_never_shows_the_clients_token_upstream() {
    survives(&Recorder::plain(), |plan| {
        plan.location("if ($request_method = POST) { set $what 1; }")
    });
}

#[test]
fn a_redirect_without_memory_never_shows_the_clients_token_upstream() {
    survives(&Recorder::plain(), |plan| {
        plan.proxied("error_page 418 = @there; return 418;")
            .server("location @there { openai main; proxy_pass http://upstream; }")
    });
}

#[test]
fn a_subrequest_without_memory_never_shows_the_clients_token_upstream() {
    survives(&Recorder::plain(), |plan| {
        plan.location("auth_request /judge;").server(
            "location = /judge {
                internal; openai main; proxy_pass_request_body off;
                proxy_set_header Content-Length ''; proxy_pass http://upstream/v1/judge;
             }",
        )
    });
}

#[test]
fn another_attempt_without_memory_never_shows_the_clients_token_upstream() {
    let sent = AtomicUsize::new(0);
    let upstream = Recorder::start(move |_| {
        // Of two in a row, at least one is answered: the key stays in use.
        let status = match sent.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => "500 Internal Server Error",
            _ => "200 OK",
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        )
    });
    survives(&upstream, |plan| {
        plan.http("openai_upstream upstream { errors off; }")
    });
}

/// Of its allocations, one is that of the proxy module's upstream.
#[test]
fn an_upstream_that_cannot_be_prepared_is_unavailable() {
    let (faults, upstream) = (Faults::new(), Recorder::plain());
    let gateway = plan(&faults, &upstream).start();
    let unavailable = Refusal::new(502, "server_error", Some("upstream_unavailable"));
    let seen = Cell::new(0);
    let failing = (&faults, Fault::Memory);
    // A connection of the harness that is closed meanwhile may take a failure.
    for _ in 0..5 {
        sweep(failing, (&gateway, &upstream), false, |gateway| {
            let answer = send(gateway)?;
            if answer.status == 502 {
                assert_eq!(answer.refusal(), unavailable);
                seen.set(seen.get() + 1);
            }
            Some(answer)
        });
        if seen.get() > 0 {
            break;
        }
    }
    assert!(seen.get() > 0, "no allocation of the upstream has failed");
    for line in gateway.logged(1).iter().filter(|line| line.status == 200) {
        assert_eq!(line.key_id, "main", "{line:?}");
    }
}
