//! Other paths under `/v1/`, and large bodies.

use serde_json::json;

use crate::wire::{CHAT, connect, quick};

const MIB: usize = 1 << 20;

#[test]
fn reports_what_arrived() {
    let mock = quick();
    let mut client = connect(mock.addr());
    let form = [("content-type", "multipart/form-data; boundary=x")];
    client.send("POST", "/v1/files?a=b", &form, b"--x--\r\n");
    let (head, echo) = client.json();
    assert_eq!(head.status, 200);
    let expected = json!({
        "object": "mock.echo", "method": "POST", "path": "/v1/files",
        "body_bytes": 7, "content_type": "multipart/form-data; boundary=x",
    });
    assert_eq!(echo, expected);

    for (method, path) in [("GET", CHAT), ("DELETE", "/v1/models"), ("PUT", "/v1/")] {
        client.send(method, path, &[], b"");
        let (_, echo) = client.json();
        assert_eq!(
            (&echo["method"], &echo["path"]),
            (&method.into(), &path.into())
        );
        assert_eq!(echo["content_type"], json!(null));
    }
}

#[test]
fn takes_bodies_of_64_mib() {
    let mock = quick();
    let mut client = connect(mock.addr());
    let body = vec![b'a'; 64 * MIB];
    client.send("POST", "/v1/files", &[], &body);
    assert_eq!(client.json().1["body_bytes"], 64 * MIB);
    client.send("POST", CHAT, &[], &body);
    let (head, chunks) = client.whole_stream();
    assert_eq!((head.status, chunks.len()), (200, 6));
}

#[test]
fn refuses_a_chat_body_that_is_larger() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.send("POST", CHAT, &[], &vec![b'a'; 64 * MIB + 1]);
    let (head, json) = client.json();
    assert_eq!(
        (head.status, &json["error"]["code"]),
        (413, &"request_too_large".into())
    );
    assert_eq!(mock.stats().totals.in_flight, 0);
}
