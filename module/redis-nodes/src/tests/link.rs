//! Connections whose bytes arrive and leave in pieces, or that fail.

use std::io;

use openai_core::redlock::{ErrorKind, Value};

use super::scripted::{Far, Scripted};
use crate::link::{Arrival, Link};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

fn link() -> (Far, Link<Scripted, u32>) {
    let far = Far::default();
    let mut link = Link::new(far.connection());
    link.flush().unwrap();
    (far, link)
}

/// A link on which `count` commands, named 1, 2 and so on, wait for one reply each.
fn owing(count: u32) -> (Far, Link<Scripted, u32>) {
    let (far, mut link) = link();
    for name in 1..=count {
        link.push(PING, 1, name, 0).unwrap();
    }
    link.flush().unwrap();
    (far, link)
}

fn text(text: &str) -> Value {
    Value::Bytes(text.into())
}

/// The next reply, with the name of its command.
fn reply(link: &mut Link<Scripted, u32>) -> Option<(u32, Value)> {
    match link.next(0).unwrap()? {
        Arrival::Reply(name, _, value) => Some((name, value)),
        Arrival::Message(parts) => panic!("a message: {parts:?}"),
    }
}

fn failure(link: &mut Link<Scripted, u32>) -> io::ErrorKind {
    match link.next(0) {
        Err(error) => error.kind(),
        Ok(_) => panic!("no failure"),
    }
}

fn message(link: &mut Link<Scripted, u32>) -> Vec<Value> {
    match link.next(0).unwrap() {
        Some(Arrival::Message(parts)) => parts,
        _ => panic!("no message"),
    }
}

#[test]
fn replies_that_arrive_byte_by_byte_are_put_together() {
    let (far, mut link) = owing(3);
    let bytes = "$5\r\nhello\r\n:7\r\n*2\r\n+a\r\n$-1\r\n";
    far.sends_slowly(bytes);
    let mut replies = vec![];
    for _ in 0..=bytes.len() {
        while let Some(reply) = reply(&mut link) {
            replies.push(reply);
        }
    }
    let list = Value::Array(vec![text("a"), Value::Nil]);
    assert_eq!(replies, [(1, text("hello")), (2, Value::Int(7)), (3, list)]);
}

#[test]
fn replies_that_arrive_together_are_taken_one_by_one() {
    let (far, mut link) = owing(3);
    far.sends("+a\r\n+b\r\n+c");
    assert_eq!(reply(&mut link), Some((1, text("a"))));
    assert_eq!(reply(&mut link), Some((2, text("b"))));
    assert_eq!(reply(&mut link), None);
    far.sends("\r\n");
    assert_eq!(reply(&mut link), Some((3, text("c"))));
}

#[test]
fn a_reply_longer_than_a_read_is_put_together() {
    let (far, mut link) = owing(2);
    let long = "x".repeat(100_000);
    far.sends(format!("${}\r\n{long}\r\n:1\r\n", long.len()));
    assert_eq!(reply(&mut link), Some((1, text(&long))));
    assert_eq!(reply(&mut link), Some((2, Value::Int(1))));
}

#[test]
fn what_the_socket_does_not_take_is_sent_later_and_once() {
    let (far, mut link) = link();
    far.takes(&[3, 0]);
    link.push(b"0123456789", 1, 1, 0).unwrap();
    link.flush().unwrap();
    assert_eq!(far.received(), "012");
    link.push(b"abc", 1, 2, 0).unwrap();
    far.takes(&[4, 1, 0]);
    link.flush().unwrap();
    assert_eq!(far.received(), "34567");
    far.takes(&[0]);
    link.flush().unwrap();
    assert_eq!(far.received(), "");
    link.flush().unwrap();
    assert_eq!(far.received(), "89abc");
    link.push(b"d", 1, 3, 0).unwrap();
    link.flush().unwrap();
    link.flush().unwrap();
    assert_eq!(far.received(), "d");
}

#[test]
fn nothing_is_sent_or_read_before_it_is_connected() {
    let far = Far::default();
    far.hesitates();
    let mut link = Link::new(far.connection());
    link.push(PING, 1, 1, 0).unwrap();
    link.flush().unwrap();
    far.sends("+early\r\n");
    assert_eq!(reply(&mut link), None);
    assert_eq!(far.received(), "");
    far.accepts();
    link.flush().unwrap();
    assert_eq!(far.received().as_bytes(), PING);
    assert_eq!(reply(&mut link), Some((1, text("early"))));
}

#[test]
fn a_refused_connection_is_an_error_of_the_first_flush() {
    let far = Far::default();
    far.refuses();
    let mut link: Link<_, u32> = Link::new(far.connection());
    let error = link.flush().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn messages_between_replies_belong_to_no_command() {
    let (far, mut link) = owing(2);
    let push = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    far.sends(format!("{push}+a\r\n{push}+b\r\n"));
    let parts = [text("message"), text("c"), text("hi")];
    assert_eq!(message(&mut link), parts);
    assert_eq!(reply(&mut link), Some((1, text("a"))));
    assert_eq!(message(&mut link), parts);
    assert_eq!(reply(&mut link), Some((2, text("b"))));
}

#[test]
fn a_message_between_the_replies_of_pipelined_commands_does_not_count_as_one() {
    let (far, mut link) = link();
    link.push(PING, 2, 1, 0).unwrap();
    link.flush().unwrap();
    far.sends("+a\r\n>1\r\n+m\r\n+b\r\n");
    assert_eq!(message(&mut link), [text("m")]);
    let both = Value::Array(vec![text("a"), text("b")]);
    assert_eq!(reply(&mut link), Some((1, both)));
}

#[test]
fn a_subscription_is_the_reply_to_its_command() {
    let (far, mut link) = owing(2);
    far.sends(">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+b\r\n");
    assert_eq!(reply(&mut link), Some((1, Value::Nil)));
    assert_eq!(reply(&mut link), Some((2, text("b"))));
}

#[test]
fn pipelined_commands_have_one_reply_of_all_with_their_errors() {
    let (far, mut link) = link();
    link.push(PING, 3, 1, 0).unwrap();
    link.push(PING, 1, 2, 0).unwrap();
    link.flush().unwrap();
    far.sends("+OK\r\n-WRONGTYPE no\r\n");
    assert_eq!(reply(&mut link), None);
    far.sends("$-1\r\n-NOSCRIPT none\r\n");
    let all = vec![Value::Okay, Value::Error(ErrorKind::WrongType), Value::Nil];
    assert_eq!(reply(&mut link), Some((1, Value::Array(all))));
    let no_script = Value::Error(ErrorKind::NoScript);
    assert_eq!(reply(&mut link), Some((2, no_script)));
}

#[test]
fn an_end_within_a_reply_breaks_it_and_all_that_follow() {
    let (far, mut link) = owing(3);
    far.sends("+a\r\n$5\r\nhel");
    far.ends();
    assert_eq!(reply(&mut link), Some((1, text("a"))));
    assert_eq!(failure(&mut link), io::ErrorKind::UnexpectedEof);
    assert_eq!(link.into_waiting().collect::<Vec<_>>(), [2, 3]);
    assert!(far.is_closed());
}

#[test]
fn an_end_within_pipelined_replies_breaks_the_whole() {
    let (far, mut link) = link();
    link.push(PING, 3, 1, 0).unwrap();
    far.sends("+a\r\n+b\r\n");
    far.fails(io::ErrorKind::ConnectionReset);
    assert_eq!(failure(&mut link), io::ErrorKind::ConnectionReset);
    assert_eq!(link.into_waiting().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_reply_that_nobody_asked_for_is_garbage() {
    let (far, mut link) = owing(1);
    far.sends("+a\r\n+b\r\n");
    assert_eq!(reply(&mut link), Some((1, text("a"))));
    assert_eq!(failure(&mut link), io::ErrorKind::InvalidData);
}

#[test]
fn what_is_no_reply_of_a_redis_server_is_garbage() {
    let (far, mut link) = owing(1);
    far.sends("HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(failure(&mut link), io::ErrorKind::InvalidData);
}

#[test]
fn too_many_commands_under_way_are_refused() {
    let (far, mut link) = link();
    let mut name = 0;
    while link.push(b"", 1, name, 0).is_ok() {
        name += 1;
    }
    assert_eq!(name, 64 * 1024);
    far.sends("+a\r\n");
    assert_eq!(reply(&mut link), Some((0, text("a"))));
    assert_eq!(link.push(b"", 1, name, 0), Ok(()));
    assert_eq!(link.push(b"", 1, 7, 0), Err(7));
}

#[test]
fn round_trips_count_from_the_push() {
    let (far, mut link) = link();
    assert_eq!(link.owing_us(100), None);
    link.push(PING, 1, 1, 100).unwrap();
    link.push(PING, 1, 2, 250).unwrap();
    assert_eq!(link.owing_us(400), Some(300));
    far.sends("+a\r\n");
    let Some(Arrival::Reply(1, after_us, _)) = link.next(600).unwrap() else {
        panic!("no reply");
    };
    assert_eq!(after_us, 500);
    assert_eq!(link.owing_us(600), Some(350));
}
