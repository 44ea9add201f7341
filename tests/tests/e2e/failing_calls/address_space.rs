//! A worker that may take no more memory while it serves clients.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use e2e::{Faults, Gateway, KEY, Plan, Recorder, wait_until};

use super::{POOLS, TOKEN, chat};

const CLIENTS: usize = 48;
const ROUNDS: usize = 5;
/// How many requests of a round fail.
const FAILURES: usize = 2 * CLIENTS;

/// How many bytes of addresses a process has.
fn addresses(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("a size") * 1024
}

/// Clients that send requests until one reports that memory is exhausted, and some more.
#[track_caller]
fn load(gateway: &Gateway) {
    let over = Arc::new(AtomicBool::new(false));
    let failures = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (over, failures) = (over.clone(), failures.clone());
            let call = chat(gateway);
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let sent = call.try_send().is_ok_and(|answer| answer.status == 200);
                    failures.fetch_add(usize::from(!sent), Ordering::SeqCst);
                }
            })
        })
        .collect();
    wait_until("requests fail for want of memory", || {
        failures.load(Ordering::SeqCst) >= FAILURES
    });
    over.store(true, Ordering::SeqCst);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
}

#[test]
fn a_worker_that_ran_out_of_memory_goes_on_leasing_keys() {
    let (faults, upstream) = (Faults::new(), Recorder::plain());
    let mut gateway = faults
        .preloaded(Plan::new())
        .pool("main", &format!("key {KEY} id=main slots={CLIENTS};"))
        .http(POOLS)
        .upstream(upstream.address())
        .expect("failed (12: ")
        .start();
    let worker = gateway.nginx().worker_pids()[0];
    chat(&gateway).send().expect_status(200);
    // What is left of the heap differs, and with it what fails first.
    for round in 0..ROUNDS {
        faults.limit_addresses(Some(addresses(worker)));
        load(&gateway);
        faults.limit_addresses(None);
        gateway.wait_held(0, 0);
        assert!(!upstream.received().contains(TOKEN), "{round}");
    }
    for _ in 0..20 {
        chat(&gateway).send().expect_status(200);
    }
    let log = gateway.error_log().text();
    assert!(log.contains("failed (12: "), "memory was enough");
    assert_eq!(gateway.nginx().worker_pids(), [worker]);
    assert!(!upstream.received().contains(TOKEN));
    for line in gateway.logged(1).iter().filter(|line| line.status == 200) {
        assert_eq!(line.key_id, "main", "{line:?}");
    }
}
