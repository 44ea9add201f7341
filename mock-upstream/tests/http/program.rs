//! The program.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wire::{CHAT, connect};

struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim_end()
            .strip_prefix("mock-upstream listening on http://");
        let address = address.and_then(|address| address.parse().ok());
        Self {
            child,
            address: address.expect("an address"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mock-upstream"));
    command.env("MOCK_LISTEN", "127.0.0.1:0");
    command
}

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
        (&["--delay", "soon"], "`soon` is not a duration"),
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
