//! Nodes that are some milliseconds away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Load, Redis, post, stream_once, wait_until};

use super::{LOCK, on_group, plan_with, states, wait_states};

/// A way to the server that takes so long in each direction; gives the port.
fn distant(redis: &Redis, ms: u64) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let (near, far) = (
        listener.local_addr().expect("it is bound").port(),
        redis.port(),
    );
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, far)) else {
                continue;
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ends = [
                (client.try_clone(), server.try_clone()),
                (Ok(server), Ok(client)),
            ];
            for (from, to) in ends {
                let (Ok(from), Ok(to)) = (from, to) else {
                    continue;
                };
                carry(from, to, Duration::from_millis(ms));
            }
        }
    });
    near
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (at, bytes) in receiver {
            thread::sleep((at + delay).saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            if sender.send((Instant::now(), chunk[..n].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// Its answers, which come after the node timeout, are still of use: what it granted in vain is
/// given back.
#[test]
fn a_node_that_is_far_away_is_not_waited_for() {
    let nodes = Redis::group(2);
    let far = Redis::start();
    let url = format!("node redis://127.0.0.1:{};", distant(&far, 100));
    let gateway = plan_with(&nodes, &format!("{url} node_timeout 50ms;"), "").start();
    wait_states(&gateway, "up,up,up");
    let mut took: Vec<_> = (0..21)
        .map(|_| {
            let since = Instant::now();
            gateway.chat().send().expect_status(200);
            since.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[10] < Duration::from_millis(80), "{took:?}");
    gateway.wait_held(0, 0);
    wait_until("nothing is left on it", || {
        thread::sleep(Duration::from_millis(300));
        far.ask(&format!("EXISTS {LOCK}")) == "0"
    });
}

#[test]
fn a_node_that_answers_too_late_is_suspect() {
    let nodes = Redis::group(2);
    let far = Redis::start();
    let url = format!("node redis://127.0.0.1:{};", distant(&far, 40));
    let gateway = plan_with(&nodes, &format!("{url} node_timeout 50ms;"), "").start();
    wait_states(&gateway, "up,up,up");
    wait_until("it is suspect", || {
        gateway.chat().send().expect_status(200);
        states(&gateway) == "up,up,suspect"
    });
}

#[test]
fn a_reload_under_load_with_nodes_that_are_far_away() {
    let nodes = Redis::group(3);
    let urls: String = nodes
        .iter()
        .map(|redis| format!("node redis://127.0.0.1:{};", distant(redis, 5)))
        .collect();
    let group = format!("openai_redlock locks {{ {urls} node_timeout 300ms; bootstrap on; }}");
    let mut gateway = on_group(&group)
        .workers(2)
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main slots=20; store locks;",
        )
        .start();
    wait_states(&gateway, "up,up,up");
    let port = gateway.port();
    let load = Load::start(10, usize::MAX, move || {
        move |_| stream_once(port, &post("", r#"{"stream":true}"#))
    });
    load.disturb(3, Duration::from_millis(300), || {
        gateway.reload(|plan| plan)
    });
    thread::sleep(Duration::from_millis(200));
    let outcomes = load.stop();
    assert_eq!(outcomes.len(), 1, "no error at all: {outcomes:?}");
}
