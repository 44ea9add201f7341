use crate::redlock::*;

const POLICY: SuspectPolicy = SuspectPolicy {
    suspect_after: 3,
    probe_min_ms: 100,
    probe_max_ms: 350,
};

#[test]
fn a_node_that_times_out_time_and_again_is_suspect_until_a_probe_is_answered() {
    let mut node = NodeHealth::new(POLICY);
    node.timed_out(0, 0);
    node.timed_out(1, 0);
    node.answered();
    node.timed_out(2, 0);
    node.timed_out(3, 0);
    assert!(!node.is_suspect(), "not three in a row");
    node.timed_out(4, 0);
    assert!(node.is_suspect());
    // The command was sent before the node became suspect: its timeout changes nothing.
    node.timed_out(5, 0);
    assert!(!node.probe(103));
    assert!(node.probe(104));
    assert!(!node.probe(105), "one probe at a time");
    node.answered();
    assert!(!node.is_suspect());
}

#[test]
fn probes_grow_rare_but_never_end() {
    let mut node = NodeHealth::new(POLICY);
    for now in 0..3 {
        node.timed_out(now, 0);
    }
    let mut now = 102;
    for interval in [200, 350, 350] {
        assert!(!node.probe(now - 1));
        assert!(node.probe(now));
        node.timed_out(now + 10, 0);
        now += 10 + interval;
    }
    assert!(!node.probe(now - 1));
    assert!(node.probe(now));
    node.timed_out(now, u64::MAX);
    assert!(!node.probe(now + 349));
    assert!(node.probe(now + 350 + 87));
}

fn info(run_id: &str, uptime_s: u64) -> ServerInfo {
    let text = format!(
        "# Server\r\nredis_version:7.0.15\r\nrun_id:{run_id}\r\nuptime_in_seconds:{uptime_s}\r\n\
         # Replication\r\nrole:master\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n"
    );
    ServerInfo::parse(&text).unwrap()
}

#[test]
fn a_node_that_restarted_is_not_asked_until_its_leases_have_ended() {
    let mut node = Incarnation::new(10_000);
    node.connected(&info("a", 10), 50_000);
    assert!(node.is_trusted(50_000), "up for longer than any lease");
    node.connected(&info("a", 0), 51_000);
    assert!(
        node.is_trusted(51_000),
        "the connection broke, not the node"
    );
    node.answered(52_000);
    node.connected(&info("b", 4), 60_000);
    assert_eq!(node.trusted_at(), 66_000);
    node.connected(&info("b", 5), 61_500);
    assert_eq!(node.trusted_at(), 66_000);
    // The clock jumped: the process cannot have been running for an hour, as it was not running a
    // second ago.
    node.answered(99_000);
    node.connected(&info("c", 3_600), 100_000);
    assert_eq!(node.trusted_at(), 109_000);
    assert!(!node.is_trusted(108_999) && node.is_trusted(109_000));
    node.bootstrap();
    assert!(node.is_trusted(100_000));
}

#[test]
fn a_node_that_would_drop_locks_will_not_do() {
    assert_eq!(info("a", 1).check(), Ok(()));
    let unfit = |text: &str| ServerInfo::parse(text).and_then(|info| info.check());
    let server = "run_id:a\nuptime_in_seconds:1\n";
    assert_eq!(unfit(server), Ok(()), "no more is known");
    assert_eq!(
        unfit(&format!("{server}role:slave")),
        Err(Mistrust::Replica)
    );
    let evicts = unfit(&format!("{server}maxmemory_policy:volatile-lru"));
    assert_eq!(evicts, Err(Mistrust::Evicts("volatile-lru".into())));
    for garbage in [
        "",
        "run_id:a",
        "uptime_in_seconds:1",
        "run_id:a\nuptime_in_seconds:x",
    ] {
        assert_eq!(unfit(garbage), Err(Mistrust::Garbage), "{garbage:?}");
    }
}
