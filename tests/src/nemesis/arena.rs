//! The system under test: two gateways that know nothing of each other, five Redis servers, and
//! the mock as witness. Each gateway has a link of its own to each server.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use mock_upstream::{MockServer, Scenario as Answers};

use super::schedule::{GATEWAYS, NODES};
use crate::gateway::Gateway;
use crate::link::Link;
use crate::plan::Plan;
use crate::raw_client::{RawClient, post};
use crate::redis::Redis;
use crate::wait::{patience, wait_until};

/// How many keys there are, each in one slot: so many requests of all may be in flight.
pub(crate) const KEYS: usize = 12;

/// A worker stood still.
pub(crate) struct Standstill {
    /// Where its requests come from.
    pub(crate) address: IpAddr,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// A worker that stands still.
pub(crate) struct Stopped {
    pid: i32,
    from: Instant,
}

pub(crate) struct Arena {
    // Fields are dropped in this order: those who call before those who are called.
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) links: Vec<Vec<Link>>,
    pub(crate) nodes: Vec<Redis>,
    pub(crate) mock: MockServer,
    pub(crate) stopped: Vec<Option<Stopped>>,
    pub(crate) standstills: Vec<Standstill>,
}

impl Arena {
    /// Starts all, and waits until the nodes vote: they are not trusted at first sight, for a
    /// worker that is new would then trust those that have lost their memory.
    pub(crate) fn start(ttl: Duration) -> Self {
        let answers = Answers::new().delay(Duration::ZERO).slots(1);
        let mock = MockServer::start(answers).expect("the mock starts");
        let nodes: Vec<_> = (0..NODES)
            .map(|_| Redis::start_with("--enable-debug-command yes"))
            .collect();
        let links: Vec<Vec<_>> = (0..GATEWAYS)
            .map(|_| nodes.iter().map(|redis| Link::to(redis.port())).collect())
            .collect();
        // One keeps locks between requests, the other does not.
        let gateways = links
            .iter()
            .zip(["retain 300ms;", "retain off;"])
            .map(|(links, retain)| {
                plan(links, ttl, retain)
                    .upstream(mock.addr().to_string())
                    .start()
            })
            .collect();
        let arena = Self {
            gateways,
            links,
            nodes,
            mock,
            stopped: (0..GATEWAYS).map(|_| None).collect(),
            standstills: Vec::new(),
        };
        wait_until("all nodes vote", || arena.is_healthy());
        // As they do for workers that a reload starts: those go by the servers' age, which is reported
        // in whole seconds.
        let quarantine = ttl.as_millis().div_ceil(1_000);
        wait_until("all nodes are old enough", || {
            arena
                .nodes
                .iter()
                .all(|node| u128::from(node.age()) >= quarantine)
        });
        arena
    }

    /// Whether all nodes vote, in the eyes of whatever workers answer.
    pub(crate) fn is_healthy(&self) -> bool {
        let up = ["up"; NODES].join(",");
        self.gateways.iter().all(|gateway| {
            (0..4).all(|_| {
                gateway.chat().send().status == 200
                    && gateway.get("/nodes").send().body == up.as_bytes()
            })
        })
    }

    /// How many of the keys one gateway can use at once, within the time.
    pub(crate) fn take_all(&self, gateway: usize, within: Duration) -> (usize, Duration) {
        wait_until("nothing is in flight", || {
            self.mock.stats().totals.in_flight == 0
        });
        let start = Instant::now();
        let port = self.gateways[gateway].port();
        // For as long as somebody listens.
        let request = post(
            "X-Mock-Words: 1000000\r\nX-Mock-Delay: 20ms\r\n",
            r#"{"stream":true}"#,
        );
        let clients: Vec<_> = (0..KEYS)
            .map(|_| {
                let mut client = RawClient::connect(port);
                client.send(&request);
                client
            })
            .collect();
        let taken = || {
            let stats = self.mock.stats();
            stats.keys.values().filter(|key| key.in_flight > 0).count()
        };
        while taken() < KEYS && start.elapsed() < within {
            std::thread::sleep(Duration::from_millis(3));
        }
        let (taken, took) = (taken(), start.elapsed());
        drop(clients);
        (taken, took)
    }

    /// Stops one of a gateway's workers.
    pub(crate) fn stop_worker(&mut self, at: usize, whim: u32) {
        let gateway = &self.gateways[at];
        let workers = workers(gateway);
        let pid = workers[whim as usize % workers.len()];
        loop {
            gateway.nginx.stop_worker(pid);
            let from = Instant::now();
            if zone_is_free(gateway) {
                self.stopped[at] = Some(Stopped { pid, from });
                return;
            }
            // It holds the mutex of the zone, and all workers stand still with it.
            gateway.nginx.resume_worker(pid);
            self.standstills.push(Standstill::until_now(pid, from));
            wait_until("the zone is free", || zone_is_free(gateway));
        }
    }

    /// Lets the stopped worker of a gateway go on.
    pub(crate) fn resume_worker(&mut self, at: usize) {
        if let Some(Stopped { pid, from }) = self.stopped[at].take() {
            self.gateways[at].nginx.resume_worker(pid);
            self.standstills.push(Standstill::until_now(pid, from));
        }
    }

    /// Kills one of a gateway's workers.
    pub(crate) fn kill_worker(&mut self, at: usize, whim: u32) {
        let gateway = &self.gateways[at];
        let workers = workers(gateway);
        let pid = workers[whim as usize % workers.len()];
        gateway.nginx.kill_worker(pid);
        // A master that is to reload before it knows would start one worker too many.
        wait_until("the master knows", || {
            !gateway.nginx.children().contains(&pid)
        });
    }
}

impl Standstill {
    fn until_now(pid: i32, from: Instant) -> Self {
        Self {
            address: address_of(pid),
            from,
            to: Instant::now(),
        }
    }
}

/// The address that the worker binds its connections to, as the configuration says.
fn address_of(pid: i32) -> IpAddr {
    let pid = pid.unsigned_abs();
    let digits = |from: u32| (pid / from % 100) as u8;
    Ipv4Addr::new(127, digits(10_000), digits(100), digits(1)).into()
}

/// The workers that take requests, once there are as many as there should be.
fn workers(gateway: &Gateway) -> Vec<i32> {
    let mut workers = Vec::new();
    wait_until("all workers run", || {
        workers = gateway.nginx.worker_pids();
        workers.len() == gateway.plan().workers
    });
    workers
}

/// Whether the gateway's other worker can use the shared memory.
fn zone_is_free(gateway: &Gateway) -> bool {
    let look = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.status_port)).ok()?;
        stream.set_read_timeout(Some(patience() / 60)).ok()?;
        let request = "GET /held/main HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    };
    look().is_some()
}

/// How long a worker waits for a node.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_millis(300);
/// The share of the TTL by which a worker lets go of a lock before it ends: a machine on which
/// all this runs beside other things may keep it waiting for so long.
pub(crate) const DRIFT: f64 = 0.3;

fn plan(links: &[Link], ttl: Duration, retain: &str) -> Plan {
    let nodes: String = links
        .iter()
        .map(|link| format!("node redis://127.0.0.1:{};\n", link.port()))
        .collect();
    let keys: String = (1..=KEYS)
        .map(|key| format!("key sk-e2e-{key} id={key} slots=1;\n"))
        .collect();
    Plan::new()
        .workers(2)
        .log_level("notice")
        .loses_workers()
        .http(&format!(
            "openai_redlock locks {{ {nodes} node_timeout {}ms; drift {}%; renew {}ms; {retain} }}",
            NODE_TIMEOUT.as_millis(),
            DRIFT * 100.0,
            ttl.as_millis() / 5,
        ))
        .http(
            "map 00000$pid $address { \"~(?<a>..)(?<b>..)(?<c>..)$\" 127.$a.$b.$c; } \
             proxy_bind $address;",
        )
        .pool(
            "main",
            &format!(
                "{keys} store locks; lease_ttl {}ms; wait 10s;",
                ttl.as_millis()
            ),
        )
        .server(
            "location = /nodes { openai main; openai_auth off; access_log off; \
             return 200 $openai_pool_nodes; }",
        )
}
