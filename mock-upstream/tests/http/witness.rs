//! The witness of requests in flight, over real connections.

use mock_upstream::{Counters, Stats, key_hash};

use crate::wire::{CHAT, connect, quick, stalling, wait_until};

const KEY: &str = "Bearer sk-1";
const AS_KEY: (&str, &str) = ("authorization", KEY);

#[test]
fn shows_what_overlaps_by_key() {
    let mock = stalling();
    let mut clients: Vec<_> = (0..3).map(|_| connect(mock.addr())).collect();
    clients[0].ask(&[AS_KEY]);
    clients[1].ask(&[AS_KEY]);
    clients[2].ask(&[("authorization", "Bearer sk-2")]);
    for client in &mut clients {
        assert_eq!(client.head().status, 200);
    }

    let mut observer = connect(mock.addr());
    observer.send("GET", "/__mock/stats", &[], b"");
    let stats: Stats = serde_json::from_value(observer.json().1).expect("statistics");
    assert_eq!(stats, mock.stats());
    let two = Counters {
        requests: 2,
        in_flight: 2,
        max_in_flight: 2,
        aborted: 0,
    };
    assert_eq!(stats.keys[&key_hash(KEY)], two);
    assert_eq!(stats.key("Bearer sk-2").max_in_flight, 1);
    assert_eq!(
        (stats.totals.in_flight, stats.max_in_flight_of_a_key()),
        (3, 2)
    );

    clients.truncate(1);
    wait_until("those who left are counted", || {
        mock.stats().totals.aborted == 2
    });
    observer.send("POST", "/__mock/reset", &[], b"");
    assert_eq!(observer.json().0.status, 200);
    let one = Counters {
        requests: 0,
        in_flight: 1,
        max_in_flight: 1,
        aborted: 0,
    };
    assert_eq!(mock.stats().key(KEY), one);
    assert_eq!(mock.stats().totals, one);
}

#[test]
fn notices_a_client_that_leaves_between_words() {
    let mock = stalling();
    let mut client = connect(mock.addr());
    client.ask(&[AS_KEY]);
    assert_eq!(client.head().status, 200);
    assert!(client.chunk().expect("a chunk").is_some());
    drop(client);
    // The next word is due in an hour.
    wait_until("the stream is dropped", || {
        mock.stats().totals.in_flight == 0
    });
    let expected = Counters {
        requests: 1,
        in_flight: 0,
        max_in_flight: 1,
        aborted: 1,
    };
    assert_eq!(mock.stats().key(KEY), expected);
}

#[test]
fn a_request_is_over_when_its_last_bytes_arrive() {
    let mock = quick();
    for turn in 0..300 {
        let mut client = connect(mock.addr());
        if turn % 2 == 0 {
            client.ask(&[AS_KEY]);
            client.head();
            // The end of the transfer coding is still to come.
            while !client
                .chunk()
                .expect("a chunk")
                .expect("[DONE]")
                .ends_with("data: [DONE]\n\n")
            {}
        } else {
            client.send("POST", CHAT, &[AS_KEY], b"{}");
            client.json();
        }
        assert_eq!(mock.stats().key(KEY).in_flight, 0);
    }
    let expected = Counters {
        requests: 300,
        in_flight: 0,
        max_in_flight: 1,
        aborted: 0,
    };
    assert_eq!(mock.stats().key(KEY), expected);
}

#[test]
fn a_key_that_is_used_again_right_after_an_abort_is_no_overlap() {
    let mock = stalling();
    for _ in 0..300 {
        let mut client = connect(mock.addr());
        client.ask(&[AS_KEY]);
        assert_eq!(client.head().status, 200);
    }
    wait_until("all are counted", || mock.stats().totals.in_flight == 0);
    let expected = Counters {
        requests: 300,
        in_flight: 0,
        max_in_flight: 1,
        aborted: 300,
    };
    assert_eq!(mock.stats().key(KEY), expected);
}

#[test]
fn an_abort_while_the_request_is_sent_is_counted() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.send_part_of("POST", CHAT, &[AS_KEY], 10, b"part");
    wait_until("the request has arrived", || {
        mock.stats().key(KEY).in_flight == 1
    });
    drop(client);
    wait_until("the client's leaving is noticed", || {
        mock.stats().key(KEY).aborted == 1
    });
    assert_eq!(mock.stats().totals.in_flight, 0);
}
