//! Totals that outlive nginx, in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::{Gateway, Plan, wait_for, wait_until};
use openai_core::metrics::{
    Day, MetricsZone, Outcome, PoolRequest, Record, Snapshot, SnapshotOwner,
};
use openai_wire::Tokens;
use openai_wire::usage::Source;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{ADMIN, plan, requests, stats, sum};
use crate::usage::counters::{TOKENS, ledger, run};

/// A folder for the file that workers may write to.
struct Kept(TempDir);

impl Kept {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))
            .expect("its permissions can be set");
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("stats")
    }

    fn plan(&self, more: &str) -> Plan {
        let path = self.file();
        plan(more).http(&format!(
            "openai_stats_file {} interval=100ms;",
            path.display()
        ))
    }

    /// The requests that the file knows of, if it is whole.
    fn requests(&self) -> Option<u64> {
        let bytes = fs::read(self.file()).ok()?;
        let (_, saved) = Snapshot::parse(&bytes).ok()?;
        let mut block = vec![0; MetricsZone::bytes_for(100)];
        let mut metrics = MetricsZone::format(&mut block).ok()?;
        metrics.merge(&saved, today());
        let rows = metrics.rows_by_day(Day::default());
        let services = rows.filter(|(_, row, _)| row.starts_with("s:"));
        let requests = services.map(|(_, _, sum)| sum.requests.iter().sum::<u64>());
        Some(requests.sum())
    }

    fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).expect("the folder");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("text"));
        names.filter(|name| name != "stats").collect()
    }
}

fn today() -> Day {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Day::of(now.expect("after 1970").as_micros() as u64)
}

/// All series but those that asking for them changes, and those of how keys do, which nginx
/// finds out anew.
fn series(gateway: &Gateway) -> Vec<String> {
    let metrics = gateway.get("/metrics").send().expect_status(200);
    let lines = metrics.text().lines().filter(|line| {
        let asked = [
            "/metrics",
            "/v1/stats",
            "\"other\"",
            "openai_key_state",
            "openai_key_cooldown_seconds",
            "openai_key_attempts_total",
            "openai_circuit_",
            "active_users",
        ];
        !line.starts_with('#') && !asked.iter().any(|path| line.contains(path))
    });
    lines.map(str::to_owned).collect()
}

/// What the stats report, but for the time.
fn figures(gateway: &Gateway) -> Value {
    let mut figures = stats(gateway, ADMIN, "");
    figures["timestamp"].take();
    figures
}

fn events(gateway: &Gateway, name: &str) -> usize {
    let name = format!("\"event\":\"{name}\"");
    gateway.error_log().text().matches(&name).count()
}

#[test]
fn a_restart_changes_nothing() {
    let kept = Kept::new();
    let mut gateway = kept.plan("quota batch requests=20/month;").start();
    run(&gateway, 0, 70);
    wait_until("all are counted", || requests(&gateway) == 70);
    let before = (series(&gateway), figures(&gateway));
    gateway.restart();
    assert_eq!((series(&gateway), figures(&gateway)), before);
    // What was used before counts for quotas, too.
    let chat = gateway.chat().token(TOKENS[1]).send();
    assert_eq!(chat.refusal().code.as_deref(), Some("insufficient_quota"));
    gateway.chat().token(TOKENS[0]).send().expect_status(200);
    wait_until("both are counted", || requests(&gateway) == 72);
    gateway.restart();
    assert_eq!(requests(&gateway), 72);
    let tokens = |table| sum(&stats(&gateway, ADMIN, ""), table, "/tokens/completion");
    for table in ["services", "models", "pools", "keys"] {
        assert_eq!(tokens(table), ledger(&gateway).1, "{table}");
    }
    assert_eq!(events(&gateway, "stats_file_rejected"), 0);
    drop(gateway);
    assert_eq!(kept.others(), [""; 0]);
}

#[test]
fn who_is_killed_loses_the_last_moments_and_doubles_nothing() {
    let kept = Kept::new();
    let mut gateway = kept.plan("").start();
    let mut certain = 0;
    for round in 0..3 {
        run(&gateway, round * 35, 35);
        let counted = wait_for("all are counted", || {
            Some(requests(&gateway)).filter(|&counted| counted >= certain + 35)
        });
        wait_until("all are written", || kept.requests() == Some(counted));
        certain = counted;
        // Of these some may be written.
        run(&gateway, 700, 14);
        gateway.crash();
        let figures = figures(&gateway);
        let now = requests(&gateway);
        assert!((certain..=certain + 14).contains(&now), "{certain} {now}");
        for table in ["models", "pools", "keys"] {
            assert_eq!(sum(&figures, table, "/requests"), now as f64, "{table}");
        }
        certain = now;
    }
    assert_eq!(events(&gateway, "stats_file_rejected"), 0);
}

#[test]
fn reloads_and_killed_workers_change_nothing() {
    let kept = Kept::new();
    let mut gateway = kept.plan("").loses_workers().start();
    for round in 0..3 {
        run(&gateway, round * 35, 35);
        gateway.reload(|plan| plan);
        let pids = gateway.nginx().worker_pids();
        for &pid in &pids {
            gateway.nginx().kill_worker(pid);
        }
        wait_until("there are new workers", || {
            let new = gateway.nginx().worker_pids();
            new.len() == 2 && !new.iter().any(|pid| pids.contains(pid))
        });
    }
    wait_until("all are written", || kept.requests() == Some(105));
    assert_eq!(requests(&gateway), 105);
    gateway.restart();
    assert_eq!(requests(&gateway), 105);
}

#[test]
fn a_file_that_a_reload_brings_is_added_once() {
    let kept = Kept::new();
    let mut gateway = kept.plan("").start();
    run(&gateway, 0, 35);
    wait_until("all are counted", || requests(&gateway) == 35);
    gateway.restart();
    // Another name for the same file: these totals are in it already.
    let moved = kept.0.path().join("moved");
    fs::rename(kept.file(), &moved).expect("the file can be moved");
    let path = moved.display().to_string();
    gateway.reload(|_| plan("").http(&format!("openai_stats_file {path} interval=100ms;")));
    assert_eq!(requests(&gateway), 35);
    run(&gateway, 35, 35);
    wait_until("all are counted", || requests(&gateway) == 70);
    gateway.restart();
    assert_eq!(requests(&gateway), 70);
}

#[test]
fn what_is_no_file_of_totals_is_put_aside() {
    let kept = Kept::new();
    let whole = {
        let mut gateway = kept.plan("").start();
        run(&gateway, 0, 7);
        wait_until("all are counted", || requests(&gateway) == 7);
        gateway.restart();
        fs::read_to_string(kept.file()).expect("the file")
    };
    let cut = &whole[..whole.len() - 9];
    for (content, why) in [
        ("worker_processes 1;\n", "not a snapshot"),
        ("", "not a snapshot"),
        (cut, "checksum"),
        (
            &whole.replacen("\"openai_stats\":1", "\"openai_stats\":9", 1),
            "later version",
        ),
    ] {
        fs::write(kept.file(), content).expect("the file can be written");
        // To look at it changes nothing.
        let tested = kept.plan("").check();
        assert!(tested.ok, "{}", tested.output);
        assert_eq!(fs::read_to_string(kept.file()).expect("the file"), content);
        let mut gateway = kept.plan("").loses_workers().start();
        assert_eq!(requests(&gateway), 0, "{why}");
        gateway.error_log().wait_for("stats_file_rejected");
        // The worker that replaces another does not report it again.
        for pid in gateway.nginx().worker_pids() {
            gateway.nginx().kill_worker(pid);
            wait_until("there is another worker", || {
                let pids = gateway.nginx().worker_pids();
                pids.len() == 2 && !pids.contains(&pid)
            });
        }
        assert_eq!(events(&gateway, "stats_file_rejected"), 1);
        assert!(gateway.error_log().text().contains(why), "{why}");
        let aside = kept.0.path().join("stats.rejected");
        assert_eq!(fs::read_to_string(aside).expect("the file aside"), content);
        run(&gateway, 0, 7);
        wait_until("all are counted", || requests(&gateway) == 7);
        gateway.reload(|plan| plan);
        gateway.restart();
        assert_eq!(requests(&gateway), 7);
        assert_eq!(events(&gateway, "stats_file_rejected"), 1);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_reported_once_and_nothing_else_suffers() {
    let kept = Kept::new();
    let gateway = kept.plan("").start();
    fs::set_permissions(kept.0.path(), fs::Permissions::from_mode(0o555))
        .expect("its permissions can be set");
    run(&gateway, 0, 7);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    gateway.error_log().wait_for("stats_file_failed");
    run(&gateway, 7, 7);
    wait_until("all are counted", || requests(&gateway) == 14);
    assert_eq!(events(&gateway, "stats_file_failed"), 1);
    drop(gateway);
    // The master may.
    assert_eq!(kept.requests(), Some(14));
    let folder = kept.0.path().join("folder");
    fs::create_dir(&folder).expect("a folder");
    let path = folder.display().to_string();
    let gateway = plan("").http(&format!("openai_stats_file {path};")).start();
    gateway.error_log().wait_for("stats_file_rejected");
    run(&gateway, 0, 7);
    wait_until("all are counted", || requests(&gateway) == 7);
}

#[test]
fn days_before_count_for_the_month_and_since() {
    let kept = Kept::new();
    let mut block = vec![0; MetricsZone::bytes_for(100)];
    let mut metrics = MetricsZone::format(&mut block).expect("a zone");
    let today = today();
    for (days, prompt) in [(70, 1), (40, 10), (1, 100)] {
        metrics.add(&Record {
            http: None,
            day: today.before(days),
            ended_ms: 0,
            duration_ms: 1,
            request: Some(PoolRequest {
                service: "app",
                pool: "main",
                key: "k1",
                model: "gpt-4o",
                known_model: true,
                outcome: Outcome::Success,
                attempts: 1,
                tokens: Tokens {
                    prompt,
                    ..Tokens::default()
                },
                source: Source::Exact,
                cost: Some(0),
                wait_ms: None,
                hold_ms: None,
                first_token_ms: None,
            }),
        });
    }
    let file = Snapshot::from(metrics.used_rows()).to_bytes(&SnapshotOwner::default());
    fs::write(kept.file(), file).expect("the file can be written");
    let gateway = kept.plan("quota app tokens=50/month;").start();
    let since = |days| {
        let query = format!("?since={}", today.before(days));
        stats(&gateway, ADMIN, &query)["total"]["tokens"]["total"].clone()
    };
    assert_eq!(
        [since(0), since(1), since(39), since(40), since(62)],
        [0, 100, 100, 110, 110]
    );
    // More than is kept by day is in the totals.
    let metrics = gateway.get("/metrics").send();
    let all = "openai_service_tokens_total{service=\"app\",kind=\"prompt\"} 111";
    assert!(metrics.text().lines().any(|line| line == all));
    let may = today.before(1) < today.month();
    let chat = gateway.chat().token(TOKENS[0]).send();
    assert_eq!(chat.status, if may { 200 } else { 429 });
}

/// A master that is nobody's child.
struct Master(Pid);

impl Master {
    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).expect("it runs");
    }

    fn wait_ended(&self) {
        wait_until("it has ended", || test_kill_process(self.0).is_err());
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // Only a failing test leaves it.
        let _ = kill_process(self.0, Signal::TERM);
    }
}

/// Has a master start the new binary, and gives its master.
fn upgrade(gateway: &Gateway, old: &Master) -> Master {
    old.signal(Signal::USR2);
    let new = wait_for("the new master runs", || {
        let pid = fs::read_to_string(gateway.dir().join("nginx.pid")).ok()?;
        Pid::from_raw(pid.trim().parse().ok()?).filter(|&pid| pid != old.0)
    });
    wait_until("the new workers run", || {
        let new = new.as_raw_nonzero();
        let list = fs::read_to_string(format!("/proc/{new}/task/{new}/children"));
        let (list, text) = (list.unwrap_or_default(), gateway.error_log().text());
        let reported = |pid: &&str| text.contains(&format!("start worker process {pid}\n"));
        list.split_whitespace().filter(reported).count() == 2
    });
    Master(new)
}

#[test]
fn an_upgrade_of_the_binary_loses_and_doubles_nothing() {
    let kept = Kept::new();
    let mut gateway = kept.plan("").start();
    let old = Master(gateway.restart_as_daemon());
    run(&gateway, 0, 35);
    // One that the old nginx ends long after.
    let slow = gateway
        .chat()
        .token(TOKENS[0])
        .header("x-mock-delay", "100ms");
    let mut stream = slow.events();
    stream.next().expect("an event");
    let new = upgrade(&gateway, &old);
    run(&gateway, 35, 35);
    old.signal(Signal::QUIT);
    run(&gateway, 70, 35);
    assert_eq!(stream.last().as_deref(), Some("[DONE]"));
    old.wait_ended();
    wait_until("all are counted", || requests(&gateway) == 106);
    let (prompt, completion) = ledger(&gateway);
    let all = stats(&gateway, ADMIN, "");
    for table in ["services", "models", "pools", "keys"] {
        assert_eq!(sum(&all, table, "/requests"), 106.0, "{table}");
        // The stream was not asked for its usage.
        let estimated = sum(&all, table, "/tokens/estimated");
        let tokens = sum(&all, table, "/tokens/total");
        assert!((tokens - prompt - completion).abs() <= estimated, "{table}");
    }
    new.signal(Signal::QUIT);
    new.wait_ended();
    assert_eq!(kept.requests(), Some(106));
    assert_eq!(kept.others(), [""; 0]);
}

#[test]
fn an_upgrade_that_is_taken_back_loses_and_doubles_nothing() {
    let kept = Kept::new();
    let mut gateway = kept.plan("").start();
    let old = Master(gateway.restart_as_daemon());
    run(&gateway, 0, 35);
    let new = upgrade(&gateway, &old);
    run(&gateway, 35, 70);
    new.signal(Signal::QUIT);
    new.wait_ended();
    run(&gateway, 105, 35);
    wait_until("all are counted", || requests(&gateway) == 140);
    old.signal(Signal::QUIT);
    old.wait_ended();
    assert_eq!(kept.requests(), Some(140));
    assert_eq!(kept.others(), [""; 0]);
}
