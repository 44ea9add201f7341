//! Stopping.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use mock_upstream::{Scenario, Server};

use crate::wire::{connect, quick, stalling, wait_until};

#[test]
fn open_streams_end_and_nobody_new_comes_in() {
    let mock = quick();
    let address = mock.addr();
    let mut idle = connect(address);
    idle.send("GET", "/health", &[], b"");
    idle.json();
    let mut client = connect(address);
    client.ask(&[("x-mock-delay", "20ms"), ("x-mock-words", "20")]);
    assert_eq!(client.head().status, 200);

    mock.drain();
    wait_until("the address is closed", || {
        TcpStream::connect(address).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(idle.rest().expect("an orderly end"), b"");
    let chunks = std::iter::from_fn(|| client.chunk().expect("a chunk")).count();
    assert_eq!(chunks, 23);

    let stats = mock.shutdown();
    assert_eq!((stats.totals.requests, stats.totals.aborted), (1, 0));
}

#[test]
fn the_grace_is_the_longest_that_a_stream_may_take() {
    let scenario = Scenario::new().delay(Duration::from_secs(3600));
    let mock = Server::new(scenario)
        .grace(Duration::from_millis(20))
        .start()
        .expect("start");
    let mut client = connect(mock.addr());
    client.ask(&[]);
    assert_eq!(client.head().status, 200);
    let stats = mock.shutdown();
    assert_eq!((stats.totals.in_flight, stats.totals.aborted), (0, 1));
    while client.chunk().is_ok() {}
}

#[test]
fn dropping_it_closes_everything() {
    let mock = stalling();
    let mut client = connect(mock.addr());
    client.ask(&[]);
    assert_eq!(client.head().status, 200);
    let address = mock.addr();
    drop(mock);
    assert!(TcpStream::connect(address).is_err());
    while client.chunk().is_ok() {}
}
