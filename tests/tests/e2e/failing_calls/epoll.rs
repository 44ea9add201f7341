//! Events that the kernel does not accept.

use e2e::{Answer, Fault, Faults, Gateway, RawClient, Recorder, post};

use super::{TOKEN, plan, sweep};

/// The reading and writing of the client's connection, and the upstream's.
const FEW: i64 = 3;

/// A request on a connection that nginx is to close; at most one answer to it.
fn send(gateway: &Gateway) -> Option<Answer> {
    let headers = format!("Authorization: Bearer {TOKEN}\r\nX-Service-Token: {TOKEN}\r\n");
    let mut client = RawClient::connect(gateway.port());
    let text = client.send(post(&headers, "{}")).read_to_end();
    let answers = text.matches("HTTP/1.1 ").count();
    assert!(answers < 2, "{text}");
    (answers == 1).then(|| client.answer())
}

#[track_caller]
fn survives(more: &str) {
    let (faults, upstream) = (Faults::new(), Recorder::plain());
    for to_the_end in [false, true] {
        let gateway = plan(&faults, &upstream)
            .proxied("proxy_pass http://{upstream};")
            .location(more)
            .start();
        let calls = sweep(
            (&faults, Fault::Epoll),
            (&gateway, &upstream),
            to_the_end,
            send,
        );
        assert!(calls >= FEW, "{calls}");
    }
}

#[test]
fn a_request_without_events_is_answered_at_most_once() {
    survives("");
}

#[test]
fn a_request_without_events_is_answered_at_most_once_when_its_client_may_leave() {
    survives("openai_usage on; openai_client_abort drain;");
}
