//! What must be true at the end of every test.
//!
//! - No slot of any pool is held and nobody waits for one.
//! - Nothing is in flight upstream.
//! - nginx ends in order when asked to.
//! - The error log has no `[alert]`, `[emerg]` or `[crit]`, no crashed worker, no panic and no
//!   finding of a sanitizer.

use std::thread;

use rustix::process::Signal;

use crate::config;
use crate::gateway::Gateway;
use crate::wait::wait_until;

/// What nginx may say when a test kills its workers.
const LOST_WORKERS: [&str; 1] = ["exited on signal 9"];

pub(crate) fn pronounce(gateway: &mut Gateway) {
    if thread::panicking() {
        eprintln!(
            "--- error log of the failed test:\n{}---",
            gateway.error_log().tail(40)
        );
        return;
    }
    if !gateway.nginx.has_ended() {
        for (pool, _) in config::pools(gateway.plan()) {
            wait_until(&format!("every slot of the pool {pool} is free"), || {
                let now = gateway.held(&pool);
                (now.held, now.waiting) == (0, 0)
            });
        }
        gateway.wait_in_flight(0);
        gateway.nginx.signal(Signal::QUIT);
    }
    let status = gateway.nginx.wait_ended();
    let expected: &[&str] = if gateway.plan().loses_workers {
        &LOST_WORKERS
    } else {
        &[]
    };
    let faults = gateway.error_log().faults(expected);
    assert!(
        faults.is_empty(),
        "the error log tells of faults:\n{}",
        faults.join("\n")
    );
    assert!(status.success(), "nginx ended with {status}");
}
