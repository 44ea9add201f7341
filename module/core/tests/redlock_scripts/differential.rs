//! Random commands: redis-server and the model must agree.

use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use openai_core::redlock::{Command, Value};

use crate::bed::{LONG, Memory, acquire, ending, enqueue, names, proposal, release, renew, slot};
use crate::model::Store;
use crate::rng::Rng;
use crate::server::{Connection, Server};

const COMMANDS: usize = 1_500;
/// Integers below this are counts or indexes; others are times.
const SPAN: i64 = 1_000;

fn agree(node: &Value, model: &Value) -> bool {
    match (node, model) {
        (Value::Array(node), Value::Array(model)) => {
            node.len() == model.len() && node.iter().zip(model).all(|(n, m)| agree(n, m))
        }
        (&Value::Int(node), &Value::Int(model)) if node > SPAN && model > SPAN => {
            (node - model).abs() < LONG as i64 / 4
        }
        (Value::Bytes(node), Value::Bytes(model)) => node == model || is_soon(node, model),
        (node, model) => node == model,
    }
}

/// Whether these are close times of the node's clock: a guard contains when it was set.
fn is_soon(node: &[u8], model: &[u8]) -> bool {
    let instant = |text: &[u8]| str::from_utf8(text).ok()?.parse::<u64>().ok();
    let instants = instant(node).zip(instant(model));
    instants
        .is_some_and(|(node, model)| node > 1_000_000_000_000 && node.abs_diff(model) < LONG / 4)
}

/// A long time, or one that is over before the next command.
fn span(rng: &mut Rng) -> u64 {
    if rng.percent(20) { 1 } else { LONG }
}

fn some_slots(rng: &mut Rng) -> Vec<u32> {
    let mut slots: Vec<u32> = (0..4).collect();
    slots.rotate_left(rng.within(0, 3) as usize);
    slots.truncate(rng.within(1, 4) as usize);
    slots
}

fn random_command(rng: &mut Rng, at: usize) -> Command {
    let nonce = u128::from(rng.within(1, 6));
    // Mostly ascending, but not always above earlier fences.
    let fence = (at as u64 + 20).saturating_sub(rng.within(0, 40)) + 1;
    let slots = some_slots(rng);
    match rng.within(0, 8) {
        0..=2 => {
            let slots = slots.into_iter().map(slot).collect();
            let mut proposal = proposal(slots, nonce, fence);
            proposal.ttl_ms = span(rng);
            proposal.quarantine_ms = if rng.percent(5) { LONG } else { 0 };
            proposal.bootstrap = rng.percent(2);
            Command::Acquire(proposal.into())
        }
        3 | 4 => ending(&slots, nonce, Some(fence).filter(|_| rng.percent(30))),
        5 => {
            let leases = slots.into_iter().map(|slot| (slot, nonce, fence));
            renew(&leases.collect::<Vec<_>>(), span(rng))
        }
        6 => enqueue(rng.within(1, 9), rng.within(0, 2) as i32 - 1, span(rng)),
        7 => Command::Leave {
            waiter: format!("host-1:{}", rng.within(1, 9)),
        },
        _ => Command::List {
            slots: (0..4).map(slot).collect(),
        },
    }
}

fn check_memory(node: &mut Connection, model: &Store, about: &str) {
    let now = node.time();
    assert_eq!(
        Memory::of_node(node),
        Memory::of_model(model, now),
        "{about}"
    );
}

fn run(seed: u64) {
    let server = Server::start(&[]);
    let (mut node, mut model, mut rng) = (server.connect(), Store::default(), Rng::new(seed));
    for at in 0..COMMANDS {
        if rng.percent(1) {
            node.ask(&["DEL", &names().guard()]);
            model.guard = None;
        }
        let command = random_command(&mut rng, at);
        let (told, said) = match &command {
            Command::Acquire(proposal) if Store::is_taking(proposal) => (
                model.take(proposal, node.time()),
                node.take(proposal, &names()),
            ),
            command => (model.run(command, node.time()), node.run(command, &names())),
        };
        let about = format!("seed {seed}, command {at}: {command:?}");
        assert!(
            agree(&said, &told),
            "{about}\nnode  {said:?}\nmodel {told:?}"
        );
        let text = format!("{command:?}");
        if text.contains("_ms: 1,") || text.contains("_ms: 1 ") || text.contains("Enqueue") {
            sleep(Duration::from_millis(4));
        }
        if at % 25 == 24 {
            check_memory(&mut node, &model, &about);
        }
    }
}

#[test]
#[ignore = "starts redis-server"]
fn redis_and_the_model_agree() {
    for seed in 1..=3 {
        run(seed);
    }
}

/// Effects of scripts survive replay: they replicate effects, not themselves.
#[test]
#[ignore = "starts redis-server"]
fn replicas_and_append_only_files_hold_what_the_scripts_did() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let options = [
        "--appendonly",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
        "--port",
        &port,
    ];
    let master = Server::start(&options);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let mut node = master.connect();
    for slots in [[0, 1], [1, 2]] {
        node.run(&acquire(&slots, 7 + u128::from(slots[0]), 50), &names());
    }
    node.run(&acquire(&[2], 9, 50), &names());
    node.run(&release(&[2], 9), &names());
    node.run(&renew(&[(3, 4, 60)], LONG), &names());
    node.run(&enqueue(1, 0, LONG), &names());
    let before = Memory::of_node(&mut node);
    assert_ne!(before, Memory::default());
    let mut copy = replica.connect();
    let synced = (0..500).any(|_| {
        sleep(Duration::from_millis(20));
        Memory::of_node(&mut copy) == before
    });
    assert!(synced, "{:?} is not {before:?}", Memory::of_node(&mut copy));
    node.ok(&["DEBUG", "LOADAOF"]);
    assert_eq!(Memory::of_node(&mut node), before);
    let lock = names().lock(&slot(0));
    assert!(node.texts(&["PTTL", &lock])[0].parse::<u64>().unwrap() <= LONG);
}
