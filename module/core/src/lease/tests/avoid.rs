//! Requests avoid keys that they have tried.

use super::bed::{Bed, pool};
use super::health::bed;
use crate::lease::*;

#[test]
fn keys_that_were_tried_are_avoided() {
    let (mut bed, worker) = bed(&[2, 2, 2]);
    let now = bed.clock();
    let mut want = bed.want(worker);
    let mut order = vec![];
    for _ in 0..3 {
        let grant = bed.zone().acquire(&want, now).unwrap();
        order.push(grant.key);
        want.avoid.push(grant.key);
        want.nonce += 100;
        bed.release(grant).unwrap();
    }
    assert_eq!(order, [0, 1, 2]);
    want.avoid = want.avoid.strict(true);
    assert_eq!(bed.zone().acquire(&want, now), None);
    assert_eq!(bed.zone().outlook(&want, now), Outlook::Tried);
    want.avoid = want.avoid.strict(false);
    assert!(bed.zone().acquire(&want, now).is_some(), "rather than none");
}

#[test]
fn every_balance_avoids_keys() {
    for balance in [
        Balance::RoundRobin,
        Balance::Weighted,
        Balance::LeastBusy,
        Balance::Random,
    ] {
        let keys: Vec<_> = (0..24).map(|n| (n, 1, 1 + u32::from(n % 3))).collect();
        for tried in 0..MAX_AVOIDED {
            let mut bed = Bed::new(&pool("p", &keys, balance));
            let worker = bed.worker(1);
            let mut want = bed.want(worker);
            for _ in 0..tried {
                let now = bed.clock();
                want.nonce = want.nonce.wrapping_mul(0x5851_F42D_4C95_7F2D) + 11;
                let grant = bed.zone().acquire(&want, now).unwrap();
                assert!(!want.avoid.contains(grant.key), "{balance:?}");
                want.avoid.push(grant.key);
                bed.release(grant).unwrap();
            }
        }
    }
}

#[test]
fn of_more_keys_than_it_can_hold_the_last_are_avoided() {
    let mut avoid = Avoid::default();
    assert!(avoid.is_empty());
    for key in 0..28 {
        avoid.push(key);
        avoid.push(key);
    }
    let held: Vec<_> = (0..28).filter(|&key| avoid.contains(key)).collect();
    assert_eq!(held, (12..28).collect::<Vec<_>>());
}
