//! What must be true at the end of every test.
//!
//! - No slot of any pool is held and nobody waits for one.
//! - Nothing is in flight upstream.
//! - nginx ends in order when asked to.
//! - The error log has no `[alert]`, `[emerg]` or `[crit]`, no crashed worker, no panic and no
//!   finding of a sanitizer.
//! - valgrind, where nginx runs under it, has found no error and no definite leak in any process.
//! - AddressSanitizer, where nginx is built with it, has reported nothing of any process.

use std::thread;

use rustix::process::Signal;

use crate::config;
use crate::gateway::Gateway;
use crate::wait::wait_until;

pub(crate) fn pronounce(gateway: &mut Gateway) {
    if thread::panicking() {
        eprintln!(
            "--- error log of the failed test:\n{}---",
            gateway.error_log().tail(100)
        );
        let log = gateway.access_log();
        let failed = log
            .lines()
            .filter(|line| !line.contains("\"status\":\"200\""));
        let failed: Vec<_> = failed.collect();
        eprintln!(
            "--- its last requests with another status than 200:\n{}\n---",
            failed[failed.len().saturating_sub(20)..].join("\n")
        );
        for report in gateway.nginx.reports() {
            eprintln!("{report}---");
        }
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
    let expected = gateway.plan().expected.clone();
    gateway.nginx.wait_ended(&expected);
}
