//! Ways to leave.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::thread;

use e2e::{Gateway, Plan, post, wait_until};

use super::{
    CHAT, JSON, LEFT, assert_counted, assert_estimated, assert_exact, bounded, finish, left_alone,
    plan, start, word,
};

#[test]
fn a_client_that_leaves_in_mid_stream() {
    let (gateway, upstream) = start(plan());
    let mut exchange = left_alone(&gateway, &upstream);
    exchange.event(&word("more"));
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
}

#[test]
fn without_it_the_upstream_is_left_as_well() {
    let (gateway, upstream) = start(plan().server("").location("").serves(
        "openai main; location /v1/chat/ {
         openai_client_abort close; openai main; proxy_pass http://upstream; }",
    ));
    let mut exchange = left_alone(&gateway, &upstream);
    exchange.wait_closed();
    assert_estimated(&gateway);
}

/// nginx does not look, and learns of it when it can send nothing any more.
#[test]
fn a_client_whose_leaving_shows_when_the_answer_is_sent() {
    let (gateway, upstream) = start(plan().location("proxy_ignore_client_abort on;"));
    let mut client = gateway.connect();
    client.send(post(JSON, CHAT));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event(&word("first"));
    client.read_until("first");
    drop(client);
    wait_until("nginx has failed to send", || {
        exchange.event(&word("more"));
        failed_to_send(&gateway)
    });
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
}

fn failed_to_send(gateway: &Gateway) -> bool {
    let text = gateway.error_log().text();
    text.contains("Broken pipe") || text.contains("reset by peer")
}

const ANSWER: &str = r#"{"usage":{"prompt_tokens":11,"completion_tokens":222}}"#;

#[test]
fn a_client_that_leaves_before_the_answer_begins() {
    for stream in [true, false] {
        let (gateway, upstream) = start(plan());
        let mut client = gateway.connect();
        client.send(post(JSON, CHAT));
        let mut exchange = upstream.accept();
        drop(client);
        gateway.error_log().wait_for(LEFT);
        gateway.wait_held(1, 0);
        if stream {
            exchange.begin_stream();
            finish(&mut exchange);
        } else {
            exchange.send(format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{ANSWER}",
                ANSWER.len()
            ));
        }
        assert_exact(&gateway, 499);
    }
}

/// Nothing reports usage then, so there is nothing to wait for.
#[test]
fn a_client_that_leaves_another_endpoint() {
    let (gateway, upstream) = start(plan());
    let mut client = gateway.connect();
    client.send("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut exchange = upstream.accept();
    drop(client);
    exchange.wait_closed();
    gateway.wait_held(0, 0);
}

/// A large answer, in nginx's buffers and its temporary file, of which the client takes some.
#[test]
fn a_client_that_leaves_in_the_middle_of_json() {
    let (mut gateway, upstream) = start(bounded("size=64m"));
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port()));
    let mut client = client.expect("the port is open");
    let request = post(JSON, CHAT);
    client.write_all(request.as_bytes()).expect("nginx reads");
    let mut exchange = upstream.accept();
    let text = format!("{{\"text\":\"{}\",", "x".repeat(16 << 20));
    let rest = &ANSWER[1..];
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        text.len() + rest.len()
    ));
    exchange.send(&text);
    let worker = gateway.nginx().worker_pids()[0];
    wait_until("nginx has much of it", || kept_in_a_file(worker) > 6 << 20);
    client.read_exact(&mut vec![0; 6 << 20]).expect("some");
    // It goes on until there is no room.
    (0..20).for_each(|_| gateway.wait_held(1, 0));
    drop(client);
    wait_until("nginx has seen it", || {
        failed_to_send(&gateway) || gateway.error_log().text().contains(LEFT)
    });
    gateway.wait_held(1, 0);
    exchange.send(rest);

    assert_exact(&gateway, 200);
}

/// The size of the answer's temporary file, which has no name any more.
fn kept_in_a_file(worker: i32) -> u64 {
    let open = fs::read_dir(format!("/proc/{worker}/fd")).expect("a process");
    let files = open.filter_map(Result::ok).map(|entry| entry.path());
    let kept = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("/proxy/"))
    };
    let sizes = files
        .filter(kept)
        .filter_map(|path| fs::metadata(path).ok());
    sizes.map(|file| file.len()).sum()
}

#[test]
fn the_answer_to_nobody_is_not_asked_for_again() {
    let (gateway, upstream) = start(plan().pool("main", "key sk-e2e-a; key sk-e2e-b;"));
    let mut client = gateway.connect();
    client.send(post(JSON, CHAT));
    let mut exchange = upstream.accept();
    drop(client);
    gateway.error_log().wait_for(LEFT);
    exchange.send("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(gateway.logged(1)[0].status, 499);
    gateway.wait_held(0, 0);
    assert!(!upstream.is_called());
    assert_counted(&gateway, "aborted");
}

/// What many clients leave is counted to the token, where streams are asked to report it.
#[test]
fn what_is_left_is_counted_to_the_token() {
    const CLIENTS: usize = 6;
    const EACH: usize = 20;
    let scenario = mock_upstream::Scenario::from_toml("delay = \"1ms\"\nwords = 40");
    let gateway = plan()
        .workers(2)
        .pool("main", "key sk-e2e-main-0001 slots=4;")
        .location("openai_include_usage on;")
        .scenario(scenario.expect("a scenario"))
        .start();
    let (port, request) = (gateway.port(), post(JSON, CHAT));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let request = &request;
            scope.spawn(move || {
                for n in 0..EACH {
                    e2e::leave_early(port, request, client * EACH + n);
                }
            });
        }
    });
    gateway.wait_held(0, 0);
    gateway.wait_in_flight(0);
    // A last request may reach the mock only after this.
    let served = || gateway.mock().stats().totals.requests as usize;
    let reported = |gateway: &Gateway| {
        let lines = gateway.logged(0);
        let exact = lines.into_iter().filter(|line| line.usage == "exact");
        let tokens = exact.map(|line| line.completion_tokens.parse::<usize>().expect("a number"));
        tokens.collect::<Vec<_>>()
    };
    // Those that left before their request was sent, or while they waited, are none of these.
    wait_until("all are logged", || reported(&gateway).len() == served());
    assert!(served() > 0 && reported(&gateway).iter().all(|&tokens| tokens == 40));
    assert_eq!(gateway.mock().stats().totals.aborted, 0);
}

#[test]
fn a_plan_can_be_the_servers() {
    let (gateway, upstream) = start(
        Plan::new()
            .server("location = /metrics { openai_metrics; access_log off; }")
            .http("openai_client_abort drain time=1h size=1m;"),
    );
    let mut exchange = left_alone(&gateway, &upstream);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
}
