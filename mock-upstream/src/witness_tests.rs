use super::*;
use crate::connection::Connection;
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "Bearer sk-1";

fn enter(witness: &Arc<Witness>, peer: Option<Peer>) -> InFlight {
    witness.enter(Some(KEY.as_bytes()), peer, Instant::now())
}

fn key(witness: &Witness) -> Counters {
    witness.stats().key(KEY)
}

fn counters(requests: u64, in_flight: u64, max_in_flight: u64, aborted: u64) -> Counters {
    Counters {
        requests,
        in_flight,
        max_in_flight,
        aborted,
    }
}

async fn connect() -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address"));
    let (client, accepted) = tokio::join!(client, listener.accept());
    (
        client.expect("connect"),
        Connection::new(accepted.expect("accept").0),
    )
}

#[test]
fn counts_each_key_by_itself_and_all_together() {
    let witness = Arc::new(Witness::default());
    let mut first = enter(&witness, None);
    let second = enter(&witness, None);
    let anonymous = witness.enter(None, None, Instant::now());
    first.finish();
    first.finish();
    assert_eq!(key(&witness), counters(2, 1, 2, 0));
    drop(first);
    drop(second);
    assert_eq!(key(&witness), counters(2, 0, 2, 1));
    let stats = witness.stats();
    assert_eq!(stats.keys["none"], counters(1, 1, 1, 0));
    assert_eq!(stats.totals, counters(3, 1, 3, 1));
    assert_eq!(stats.max_in_flight_of_a_key(), 2);
    drop(anonymous);
}

#[test]
fn a_reset_keeps_what_is_in_flight() {
    let witness = Arc::new(Witness::default());
    let first = enter(&witness, None);
    drop(enter(&witness, None));
    drop(witness.enter(None, None, Instant::now()));
    witness.count_forbidden_token();
    witness.reset();
    let stats = witness.stats();
    assert_eq!(stats.key(KEY), counters(0, 1, 1, 0));
    assert_eq!(
        (stats.keys.len(), stats.totals, stats.forbidden_tokens),
        (1, stats.key(KEY), 0)
    );
    drop(first);
    assert_eq!(key(&witness), counters(0, 0, 1, 1));
}

#[tokio::test]
async fn a_client_that_left_is_no_overlap_though_its_request_is_still_open() {
    let witness = Arc::new(Witness::default());
    let (client, connection) = connect().await;
    let left = enter(&witness, Some(connection.peer()));
    drop(client);
    let (_staying, other) = connect().await;
    let stays = enter(&witness, Some(other.peer()));
    assert_eq!(key(&witness), counters(2, 1, 1, 1));
    drop(left);
    assert_eq!(key(&witness), counters(2, 1, 1, 1));
    let overlap = enter(&witness, Some(other.peer()));
    assert_eq!(key(&witness), counters(3, 2, 2, 1));
    drop((stays, overlap));
    assert_eq!(witness.stats().totals.in_flight, 0);
}

#[tokio::test]
async fn a_request_that_arrives_after_its_client_left_is_no_overlap() {
    let witness = Arc::new(Witness::default());
    let (_staying, connection) = connect().await;
    let _stays = enter(&witness, Some(connection.peer()));
    let (client, late) = connect().await;
    drop(client);
    let dead = enter(&witness, Some(late.peer()));
    assert_eq!(key(&witness), counters(2, 1, 1, 1));
    drop(dead);
    assert_eq!(key(&witness), counters(2, 1, 1, 1));
}

#[test]
fn no_overlap_between_threads_is_missed() {
    const THREADS: usize = 4;
    let witness = Arc::new(Witness::default());
    let all_in = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..500 {
                    enter(&witness, None).finish();
                }
                let mut last = enter(&witness, None);
                all_in.wait();
                last.finish();
            });
        }
    });
    assert_eq!(
        key(&witness),
        counters(THREADS as u64 * 501, 0, THREADS as u64, 0)
    );
}

#[tokio::test]
async fn requests_beyond_the_slots_are_recorded_one_by_one() {
    let witness = Arc::new(Witness::new(Some(1)));
    let (client, connection) = connect().await;
    let first = enter(&witness, Some(connection.peer()));
    assert_eq!(witness.overlaps(), []);
    for number in 1..=2 {
        let (_other, second) = connect().await;
        let second = enter(&witness, Some(second.peer()));
        let overlaps = witness.overlaps();
        assert_eq!(overlaps.len(), number, "the second one too");
        let overlap = &overlaps[number - 1];
        assert_eq!((overlap.parties.len(), overlap.ended), (2, None));
        let ours = Some(client.local_addr().expect("an address"));
        assert!(overlap.parties.iter().any(|party| party.peer == ours));
        drop(second);
        assert!(witness.overlaps()[number - 1].ended >= Some(overlap.began));
    }
    drop(first);
    drop(client);
    witness.reset();
    assert_eq!(witness.overlaps(), []);
}
