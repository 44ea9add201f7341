//! The program.

use rustix::process::{Pid, Signal, kill_process};

use crate::start::{Program, program};
use crate::wire::{CHAT, connect};

#[test]
fn flags_go_before_the_environment() {
    let mut command = program();
    command
        .env("MOCK_TEXT", "from the environment")
        .env("MOCK_DELAY", "0");
    command.args(["--text", "from a flag", "--deny-token", "one,two"]);
    let program = Program::start(&mut command);
    let mut client = connect(program.address);
    client.send("POST", CHAT, &[], b"{}");
    let (_, json) = client.json();
    assert_eq!(json["choices"][0]["message"]["content"], "from a flag");
    client.send("POST", CHAT, &[("authorization", "Bearer two")], b"{}");
    assert_eq!(client.json().0.status, 400);
}

#[test]
fn a_stream_is_all_there_is_when_that_is_asked_for() {
    let streams = |program: &Program| {
        let streams = |body: &[u8]| {
            let mut client = connect(program.address);
            client.send("POST", CHAT, &[], body);
            let head = client.head();
            head.headers["content-type"].starts_with("text/event-stream")
        };
        let bodies = [&b"{\"stream\":false}"[..], b"{}", b"no JSON", b""];
        bodies.map(streams)
    };
    for (flags, variable, expected) in [
        (&[][..], None, [false, false, true, true]),
        (&["--always-stream"][..], None, [true; 4]),
        (&[], Some("true"), [true; 4]),
        (&[], Some("false"), [false, false, true, true]),
        (&[], Some(""), [false, false, true, true]),
    ] {
        let mut command = program();
        command.args(["--delay", "0"]).args(flags);
        if let Some(value) = variable {
            command.env("MOCK_ALWAYS_STREAM", value);
        }
        let program = Program::start(&mut command);
        assert_eq!(streams(&program), expected, "{flags:?} {variable:?}");
    }
}

#[test]
fn a_signal_lets_streams_end_and_the_program_succeed() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start(program().args(["--threads", "2", "--delay", "20"]));
        let mut client = connect(program.address);
        client.ask(&[("x-mock-words", "10")]);
        assert_eq!(client.head().status, 200);
        kill_process(Pid::from_child(&program.child), signal).expect("a signal");
        let chunks = std::iter::from_fn(|| client.chunk().expect("a chunk")).count();
        assert_eq!(chunks, 13);
        assert!(program.child.wait().expect("an end").success());
    }
}

#[test]
fn a_start_that_fails_says_why() {
    let first = Program::start(&mut program());
    let taken = first.address.to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["--listen", &taken], "cannot listen on"),
        (&["--delay", "soon"], "`soon` is no latency"),
        (
            &["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"],
            "cannot read /nonexistent",
        ),
        (&["--deny-token", ""], "must not be empty"),
    ];
    for (flags, message) in cases {
        let output = program().args(flags).output().expect("the program runs");
        assert!(!output.status.success(), "{flags:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(message), "{stderr}");
    }
}
