//! nginx without a master process.

use e2e::{Plan, wait_until};
use rustix::process::Signal;

/// There are no workers.
fn alone() -> Plan {
    Plan::new().workers(0).main("master_process off;")
}

#[test]
fn it_leases_keys() {
    let gateway = alone().start();
    for _ in 0..3 {
        gateway.chat().send().expect_status(200);
    }
    assert!(gateway.logged(3).iter().all(|line| line.key_id == "main"));
}

/// nginx would free the settings and the zone that the module goes on with.
#[test]
fn a_reload_is_refused_and_requests_go_on() {
    const SAYS: &str = "no reload with \"master_process off\"; restart nginx";
    let mut gateway = alone().expect(SAYS).start();
    for times in 1..=3 {
        gateway.nginx().signal(Signal::HUP);
        wait_until("the reload has been refused", || {
            gateway.error_log().text().matches(SAYS).count() == times
        });
        gateway.chat().send().expect_status(200);
        gateway.wait_held(0, 0);
    }
    assert!(gateway.logged(3).iter().all(|line| line.key_id == "main"));
}
