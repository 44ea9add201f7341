//! Nodes that are no Redis, or lie: a majority of others does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use e2e::{Redis, wait_until};

use super::{LOCK, holders, on_group, states};

/// A server for as long as the test process lives; gives its address.
fn serve(answer: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    format!("redis://{address}")
}

/// Says this to everybody, and goes on listening.
fn parrot(says: &[u8]) -> String {
    let says = says.to_vec();
    serve(move |mut stream| {
        let _ = stream.write_all(&says);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// The words of the next command.
fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |kind: char, reader: &mut dyn BufRead| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim_end().strip_prefix(kind)?.parse::<usize>().ok()
    };
    let count = number('*', reader)?;
    (0..count)
        .map(|_| {
            let mut word = vec![0; number('$', reader)? + 2];
            reader.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            String::from_utf8(word).ok()
        })
        .collect()
}

/// A Redis as far as its greeting, whose scripts answer this.
fn liar(says: &'static str) -> String {
    serve(move |mut stream| {
        let Ok(reading) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(reading);
        while let Some(words) = command(&mut reader) {
            let info = "run_id:abc\r\nuptime_in_seconds:99999\r\nrole:master\r\n";
            let reply = match words[0].as_str() {
                "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                "EVALSHA" | "EVAL" => says.to_owned(),
                _ => "+OK\r\n".to_owned(),
            };
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// A group of these servers, and these nodes.
fn group(sound: &[Redis], others: &[String]) -> String {
    let sound = sound.iter().map(|redis| format!("node {};", redis.url()));
    let others = others.iter().map(|url| format!("node {url};"));
    let nodes: String = sound.chain(others).collect();
    format!("openai_redlock locks {{ {nodes} node_timeout 3s; bootstrap on; }}")
}

/// As many of them at once as a majority can stand.
const MINORITY: usize = 7;

/// Requests pass though these nodes, all or none of which count as down, are in the group.
fn assert_served_despite(others: &[String], down: bool) {
    for others in others.chunks(MINORITY) {
        let redis = Redis::group(others.len() + 1);
        let sound = redis.len();
        let gateway = on_group(&group(&redis, others))
            .pool("main", "key sk-e2e-main-0001 id=main; store locks;")
            .start();
        let as_expected = || {
            let states = states(&gateway);
            let mut states = states.split(',');
            let up = states.by_ref().take(sound).all(|state| state == "up");
            up && states.all(|state| (state == "down") == down)
        };
        wait_until("the nodes are seen for what they are", as_expected);
        for _ in 0..20 {
            gateway.chat().send().expect_status(200);
        }
        assert!(as_expected(), "{}", states(&gateway));
        gateway.wait_held(0, 0);
        wait_until("no lock is left", || holders(&redis, LOCK) == 0);
    }
}

#[test]
fn nodes_that_are_no_redis() {
    let nested = b"*1\r\n".repeat(100_000);
    let others: Vec<_> = [
        b"".as_slice(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\xff\x00",
        b"+OK\r\n+OK\r\n+OK\r\n",
        b"*1000000000\r\n",
        b"*9223372036854775807\r\n",
        b"$9223372036854775807\r\n",
        b"$-2\r\n",
        b":\r\n",
        &nested,
        &b"+OK\r\n".repeat(100_000),
        &vec![0; 1 << 20],
        &vec![b'+'; 1 << 20],
    ]
    .iter()
    .map(|says| parrot(says))
    .collect();
    assert_served_despite(&others, true);
}

#[test]
fn nodes_whose_scripts_answer_nonsense() {
    let others: Vec<_> = [
        "+OK\r\n",
        ":1\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n:1\r\n:99\r\n",
        "*2\r\n:1\r\n:-1\r\n",
        "*2\r\n:7\r\n:7\r\n",
        "*4\r\n:0\r\n:0\r\n:9223372036854775807\r\n$1\r\n0\r\n",
        "*4\r\n:0\r\n:2\r\n:9223372036854775807\r\n$1\r\n0\r\n",
        "*4\r\n:0\r\n:1\r\n:-1\r\n$5\r\nnever\r\n",
        "*5\r\n:0\r\n:1\r\n:-1\r\n$1\r\n0\r\n:99\r\n",
        "-ERR no\r\n",
        "-NOSCRIPT none\r\n",
        "-MOVED 1 127.0.0.1:1\r\n",
        "-\r\n",
    ]
    .map(liar)
    .into();
    assert_served_despite(&others, false);
}

/// A fence as high as it gets, from a node that lies or has been tampered with.
#[test]
fn a_node_whose_fences_are_at_their_end() {
    let liar = liar("*4\r\n:0\r\n:1\r\n:-1\r\n$16\r\n9007199254740991\r\n");
    assert_served_despite(&[liar], false);
}
