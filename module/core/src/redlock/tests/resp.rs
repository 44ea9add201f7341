use proptest::prelude::*;

use crate::redlock::resp::{Garbage, Sent, read};
use crate::redlock::{ErrorKind, Value};

fn bytes(text: &str) -> Value {
    Value::Bytes(text.into())
}

#[test]
fn replies_of_every_kind() {
    let array = |values: &[Value]| Value::Array(values.to_vec());
    let table = [
        (":-12\r\n", Value::Int(-12)),
        (":+5\r\n", Value::Int(5)),
        (":9223372036854775807\r\n", Value::Int(i64::MAX)),
        (":-9223372036854775808\r\n", Value::Int(i64::MIN)),
        ("+OK\r\n", Value::Okay),
        ("+\r\n", bytes("")),
        ("$0\r\n\r\n", bytes("")),
        ("$4\r\na\r\nb\r\n", bytes("a\r\nb")),
        ("$-1\r\n", Value::Nil),
        ("*-1\r\n", Value::Nil),
        ("_\r\n", Value::Nil),
        ("-OOM no memory\r\n", Value::Error(ErrorKind::OutOfMemory)),
        ("!12\r\nNOSCRIPT not\r\n", Value::Error(ErrorKind::NoScript)),
        ("=7\r\ntxt:a:1\r\n", bytes("a:1")),
        (",1.5\r\n", bytes("1.5")),
        ("#t\r\n", bytes("t")),
        ("*0\r\n", array(&[])),
        ("~1\r\n:1\r\n", array(&[Value::Int(1)])),
        ("%1\r\n+a\r\n:1\r\n", array(&[bytes("a"), Value::Int(1)])),
        (
            "*3\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n",
            array(&[Value::Int(1), array(&[bytes("x")]), Value::Nil]),
        ),
    ];
    for (text, value) in table {
        let whole = Ok(Some((Sent::Reply(value.clone()), text.len())));
        assert_eq!(read(text.as_bytes()), whole, "{text:?}");
        let more = format!("{text}:7\r\n");
        assert_eq!(read(more.as_bytes()), whole, "{more:?}");
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), Ok(None), "{text:?} to {end}");
        }
    }
    let push = ">3\r\n+message\r\n$1\r\nc\r\n$1\r\nm\r\n";
    let parts = vec![bytes("message"), bytes("c"), bytes("m")];
    assert_eq!(
        read(push.as_bytes()),
        Ok(Some((Sent::Push(parts), push.len())))
    );
}

#[test]
fn what_is_no_reply() {
    let deep = "*1\r\n".repeat(100);
    let long = "x".repeat(3 << 20);
    for text in [
        "HTTP/1.1 400 Bad Request\r\n",
        "\r\n",
        ":\r\n",
        ":1\n",
        ":99999999999999999999\r\n",
        ":9223372036854775808\r\n",
        ":-9223372036854775809\r\n",
        ":-\r\n",
        ":1-\r\n",
        "$-2\r\n",
        "$9223372036854775807\r\n",
        "*1000000000\r\n",
        "$1\r\nxyz",
        "*1\r\n>1\r\n:1\r\n",
        &deep,
        &format!("+{long}"),
    ] {
        assert_eq!(read(text.as_bytes()), Err(Garbage), "{:.40?}", text);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_borne(bytes: Vec<u8>) {
        if let Ok(Some((_, length))) = read(&bytes) {
            prop_assert!(length > 0 && length <= bytes.len());
        }
    }

    #[test]
    fn any_bytes_of_the_protocol_are_borne(text in "[*$:+>%=_!~#,(-]?[0-9]{0,3}(\r\n|\r|\n|[*$:+>%a-]){0,9}") {
        if let Ok(Some((_, length))) = read(text.as_bytes()) {
            prop_assert!(length > 0 && length <= text.len());
        }
    }
}
