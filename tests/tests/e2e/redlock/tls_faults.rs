//! Peers behind `rediss://` that are slow, or no TLS servers at all.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Authority, RawUpstream, Redis, patience, wait_until};

use super::tls::{assert_lends, nodes, reason, trust};
use super::{on_group, plan_with, wait_states};
use crate::reload;

/// A server for as long as the test process lives; gives its port.
fn serve(answer: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    port
}

/// The way to a server, in pieces of so many bytes; gives its port.
fn in_pieces(redis: &Redis, size: usize) -> u16 {
    let far = redis.port();
    serve(move |client| {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, far)) else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let carry = move |mut from: TcpStream, mut to: TcpStream| {
            let mut piece = vec![0; size];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                if to.write_all(&piece[..n]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        };
        if let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) {
            thread::spawn(move || carry(from, to));
            carry(server, client);
        }
    })
}

#[test]
fn a_connection_that_comes_in_pieces() {
    let authority = Authority::create();
    let nodes = nodes(3, &authority, "127.0.0.1");
    let ways: String = nodes
        .iter()
        .zip([1, 7, 1000])
        .map(|(redis, size)| format!("node rediss://127.0.0.1:{};", in_pieces(redis, size)))
        .collect();
    let group = format!(
        "openai_redlock locks {{ {ways} {} bootstrap on; }}",
        trust(&authority)
    );
    let pool = "key sk-e2e-main-0001 id=main; store locks; lease_ttl 3s;";
    assert_lends(&nodes, on_group(&group).pool("main", pool));
}

/// While a node does not read, more is written than the system takes: what has been begun to be
/// sent goes on from a buffer that has grown in the meantime.
#[test]
fn a_node_that_does_not_read_for_a_while() {
    let authority = Authority::create();
    let nodes = nodes(3, &authority, "127.0.0.1");
    let upstream = RawUpstream::bind();
    let long = "x".repeat(64);
    let renewal = trust(&authority) + &format!("renew 10ms; prefix {long};");
    let pool = format!("key sk-e2e-main-0001 id={long} slots=200; store locks; lease_ttl 10s;");
    let gateway = plan_with(&nodes, &renewal, "")
        .pool("main", &pool)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let streams: Vec<_> = (0..200)
        .map(|_| reload::stream(&gateway, &upstream))
        .collect();
    nodes[2].pause();
    let until = Instant::now() + Duration::from_secs(2);
    wait_until("it has been written to for long", || {
        gateway.wait_held(200, 0);
        Instant::now() > until
    });
    nodes[2].resume();
    // Renewals of 200 locks every 10 ms may be more than a busy machine does.
    for stream in streams {
        reload::end(stream);
    }
    gateway.wait_held(0, 0);
    wait_until("no lock is left", || {
        nodes[2].ask("KEYS *{main}:l:*").is_empty()
    });
    wait_states(&gateway, "up,up,up");
    assert!(!gateway.error_log().text().contains("redis_node_down"));
}

/// They hold nothing up, whether they answer in the clear, break off, or keep silent.
#[test]
fn nodes_that_speak_no_tls() {
    let authority = Authority::create();
    // One more than a majority, so that one of them may be late.
    let nodes = nodes(7, &authority, "127.0.0.1");
    let plain = Redis::start();
    let after_hello = |says: &'static [u8]| {
        serve(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(says);
        })
    };
    let useless = [
        (plain.port(), "no connection in time"),
        (
            serve(|mut s| drop(s.read_to_end(&mut Vec::new()))),
            "no connection in time",
        ),
        (serve(drop), "TLS: "),
        (
            after_hello(b""),
            "TLS: peer closed connection in SSL handshake",
        ),
        (after_hello(b"-ERR what?\r\n"), "wrong version number"),
        (
            after_hello(b"\x15\x03\x03\x00\x02\x02\x28"),
            "handshake failure",
        ),
        (after_hello(b"\x16\x03\x03\x40\x00\x02\x00"), "TLS: "),
    ];
    for useless in useless.chunks(4) {
        let others: String = useless
            .iter()
            .map(|(port, _)| format!("node rediss://127.0.0.1:{port};"))
            .collect();
        let gateway = plan_with(&nodes, &(trust(&authority) + &others), "").start();
        wait_states(
            &gateway,
            &(["up"; 7].join(",") + &",down".repeat(useless.len())),
        );
        wait_until("every one has been tried", || {
            gateway.chat().send().expect_status(200);
            gateway
                .error_log()
                .text()
                .matches("redis_node_down")
                .count()
                >= useless.len()
        });
        for &(port, why) in useless {
            let line = reason(&gateway, port);
            assert!(line.contains(why), "{why:?} is missing: {line}");
        }
    }
}

/// The name that it asks for goes out in the clear.
#[test]
fn the_name_of_a_host_is_sent_to_it_and_an_address_is_not() {
    for (name, is_reported) in [("redis.example", true), ("127.0.0.1", false)] {
        let (sender, receiver) = mpsc::channel();
        let port = serve(move |mut stream| {
            let mut hello = [0; 4096];
            let read = stream.read(&mut hello).unwrap_or(0);
            let _ = sender.send(hello[..read].to_vec());
        });
        let group =
            format!("openai_redlock locks {{ node rediss://127.0.0.1:{port}; tls_name {name}; }}");
        let pool = "key sk-e2e-main-0001 id=main; store locks;";
        let gateway = on_group(&group).pool("main", pool).start();
        let hello = receiver.recv_timeout(patience()).expect("a hello");
        assert_eq!(hello[0], 22, "a handshake");
        let hello = String::from_utf8_lossy(&hello);
        assert_eq!(hello.contains(name), is_reported);
        drop(gateway);
    }
}
