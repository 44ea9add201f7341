//! Requests that nginx clones from another one, without memory.

use e2e::{Answer, Fault, Faults, Gateway, Recorder, patience};

use super::{TOKEN, plan, sweep};

const FILE: &str = "0123456789abcdefghijABCDE";

/// Without memory for the mark of an answer's end, nginx ends a slice without telling the request
/// that it is a slice of, which then waits for ever; without the module as well. The client gives
/// up, and its slot is free.
fn send(gateway: &Gateway) -> Option<Answer> {
    gateway
        .get("/v1/files/1/content")
        .token(TOKEN)
        .within(patience() / 5)
        .try_send()
        .ok()
}

/// Sends the slice that is asked for.
fn slice(head: &str) -> String {
    let range = head.split_once("bytes=").expect("a range").1;
    let start: usize = range
        .split('-')
        .next()
        .and_then(|start| start.parse().ok())
        .expect("a start");
    let end = FILE.len().min(start + 10);
    format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes {start}-{}/{}\r\n\
         Content-Length: {}\r\n\r\n{}",
        end - 1,
        FILE.len(),
        end - start,
        &FILE[start..end]
    )
}

#[track_caller]
fn survives(more: &str) {
    let (faults, upstream) = (Faults::new(), Recorder::start(slice));
    let gateway = plan(&faults, &upstream)
        .location("slice 10; proxy_set_header Range $slice_range;")
        .location(more)
        .start();
    sweep((&faults, Fault::Memory), (&gateway, &upstream), false, send);
}

#[test]
fn a_slice_without_memory_never_shows_the_clients_token_upstream() {
    survives("");
}

#[test]
fn a_slice_in_an_if_block_never_shows_the_clients_token_upstream() {
    survives("if ($request_method = GET) { set $what 1; }");
}
