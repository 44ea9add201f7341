//! Scenario files and conversation files.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;

use crate::capture::Capture;
use crate::start::{Program, program};
use crate::wire::{CHAT, STREAM, wait_until};

fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Capture {
    Capture::of(address, method, path, &[], body)
}

#[test]
fn a_scenario_file_is_taken_anew_when_it_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("scenario.toml");
    fs::write(&path, "text = \"first\"\n").expect("a file");
    let mut command = program();
    let name = path.to_str().expect("UTF-8");
    let program = Program::start(command.args(["--scenario", name, "--delay", "0"]));
    let said = || call(program.address, "POST", CHAT, STREAM).said();
    assert_eq!(said(), "first");
    fs::write(&path, "text = \"second\"\ndelay = \"1h\"\n").expect("a file");
    let error =
        || call(program.address, "GET", "/__mock/scenario", "").json()["file_error"].clone();
    wait_until("the mistake is noticed", || error() != Value::Null);
    assert!(
        error()
            .as_str()
            .is_some_and(|error| error.contains("line 2") && error.contains("delay"))
    );
    assert_eq!(said(), "first");

    // Editors write a new file and move it to the place of the old one.
    let new = dir.path().join("new");
    fs::write(&new, "text = \"third\"\ndelay = \"50s\"\n").expect("a file");
    fs::rename(&new, &path).expect("a move");
    wait_until("the new scenario is in force", || said() == "third");
    assert_eq!(error(), Value::Null);
}

#[test]
fn a_program_does_not_start_with_a_mistake() {
    for (flags, part) in [
        (["--fault", "status=200"], "status must be"),
        (["--set", "speed=1"], "there is no setting speed"),
        (["--key", "rpm=1"], "token must be there"),
        (
            ["--scenario", "/nonexistent.toml"],
            "cannot read /nonexistent.toml",
        ),
        (["--replay", "/nonexistent"], "cannot read /nonexistent"),
    ] {
        let output = program().args(flags).output().expect("the program runs");
        assert!(!output.status.success(), "{flags:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_conversation_is_replayed_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("talk.jsonl");
    let line = r#"{"method":"POST","path":"/v1/chat/completions","body":{"a":1},"status":418,"headers":[["content-type","text/x-test"],["x-upstream","yes"]],"chunks":[{"at_us":1000,"text":"one "},{"at_us":30000,"text":"two"}]}"#;
    fs::write(&path, line).expect("a file");
    let name = path.to_str().expect("UTF-8");
    let program = Program::with(&["--replay", name, "--delay", "0"]);
    let ask = |path: &str| Capture::of(program.address, "POST", path, &[], "{\"a\":1}");
    let reported = ask("/v1/chat/completions");
    assert_eq!(
        (reported.status, reported.text().as_str()),
        (418, "one two")
    );
    assert_eq!(
        (
            reported.header("x-upstream"),
            reported.header("content-type")
        ),
        (Some("yes"), Some("text/x-test"))
    );
    assert_eq!(reported.pieces.len(), 2);
    assert!(reported.elapsed.as_millis() >= 30);
    let other: Value = ask("/v1/embeddings").json();
    assert_eq!(other["object"], "list");
}

#[test]
fn what_is_recorded_is_replayed_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("talk.jsonl");
    let name = path.to_str().expect("UTF-8");
    let real = Program::with(&["--delay", "15ms", "--text", "recorded words \u{e9}"]);
    let upstream = format!("http://{}", real.address);
    let recorder = Program::with(&["--record", name, "--upstream", &upstream]);
    let headers = [
        ("authorization", "Bearer sk-real"),
        ("content-type", "application/json"),
    ];
    let ask = |program: &Program, path: &str, body: &str| {
        Capture::of(program.address, "POST", path, &headers, body)
    };
    let requests = [
        (CHAT, STREAM),
        (CHAT, r#"{"model":"gpt-4o"}"#),
        ("/v1/embeddings?x=1", r#"{"input":"a"}"#),
        (
            "/v1/chat/completions",
            r#"{"stream":false,"model":"other"}"#,
        ),
    ];
    let first = requests.map(|(path, body)| ask(&recorder, path, body));
    wait_until("all is written", || {
        fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == requests.len())
    });
    let written = fs::read_to_string(&path).expect("a file");
    assert!(!written.contains("sk-real"), "{written}");
    let journal = call(real.address, "GET", "/__mock/requests", "").json();
    assert_eq!(
        journal["requests"][0]["key"],
        mock_upstream::key_hash("Bearer sk-real")
    );
    drop((real, recorder));

    let replayer = Program::with(&["--replay", name]);
    for (index, (path, body)) in requests.into_iter().enumerate() {
        let again = ask(&replayer, path, body);
        assert_eq!(again.status, first[index].status);
        assert_eq!(again.text(), first[index].text());
        let kind = |seen: &Capture| seen.header("content-type").map(str::to_owned);
        assert_eq!(kind(&again), kind(&first[index]));
    }
    assert_eq!(first[0].said(), "recorded words \u{e9}");
    let again = ask(&replayer, CHAT, STREAM);
    assert!(again.elapsed.as_millis() >= 25, "as slow as it was");
    assert_eq!(again.pieces.len(), first[0].pieces.len());
}

#[test]
fn an_upstream_that_is_gone_is_a_bad_gateway() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("talk.jsonl");
    let name = path.to_str().expect("UTF-8");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let upstream = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let recorder = Program::with(&["--record", name, "--upstream", &upstream]);
    let answer = call(recorder.address, "POST", CHAT, STREAM);
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["type"], "server_error");
}
