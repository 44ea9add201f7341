//! Each key's share of the leases, also while keys are cooling down.

use openai_wire::Verdict;

use super::bed::{Bed, pool};
use crate::lease::*;

const PICKS: usize = 100_000;

struct Run {
    bed: Bed,
    worker: WorkerId,
    seed: u128,
}

impl Run {
    fn new(balance: Balance, keys: &[(u8, u32, u32)]) -> Self {
        let mut bed = Bed::new(&pool("p", keys, balance));
        let worker = bed.worker(1);
        Self {
            bed,
            worker,
            seed: 1,
        }
    }

    fn pick(&mut self) -> Grant {
        self.seed = self
            .seed
            .wrapping_mul(0x5851_F42D_4C95_7F2D_1405_7B7E_F767_814F)
            .wrapping_add(11);
        let want = Want {
            nonce: self.seed >> 32,
            ..self.bed.want(self.worker)
        };
        let now = self.bed.clock();
        let grant = self.bed.zone().acquire(&want, now);
        grant.expect("a free key")
    }
}

#[track_caller]
fn assert_shares(count: &[usize], weights: &[u32]) {
    let picks: usize = count.iter().sum();
    let whole: u32 = weights.iter().sum();
    for (&got, &weight) in count.iter().zip(weights) {
        let due = picks as f64 * f64::from(weight) / f64::from(whole);
        let off = (got as f64 - due).abs() / due;
        assert!(off <= 0.02, "{count:?} is not {weights:?}");
    }
}

const WEIGHTS: [u32; 5] = [1, 2, 3, 5, 9];

fn promised(balance: Balance) -> [u32; 5] {
    match balance {
        Balance::Weighted => WEIGHTS,
        _ => [1; 5],
    }
}

const ALL: [Balance; 3] = [Balance::RoundRobin, Balance::Weighted, Balance::Random];

fn keys(slots: u32) -> Vec<(u8, u32, u32)> {
    (0..).zip(WEIGHTS).map(|(n, w)| (n, slots, w)).collect()
}

#[test]
fn every_key_has_its_share() {
    for balance in ALL {
        let mut run = Run::new(balance, &keys(2));
        let mut count = [0; 5];
        for _ in 0..PICKS {
            let grant = run.pick();
            count[grant.key as usize] += 1;
            run.bed.release(grant).unwrap();
        }
        assert_shares(&count, &promised(balance));
    }
}

/// A key with repeated cool-downs gets its share while it is active, and so do the other keys.
#[test]
fn a_key_that_comes_and_goes_has_its_share_while_it_is_in() {
    for balance in ALL {
        let mut run = Run::new(balance, &keys(1));
        let (mut with, mut without) = ([0; 5], [0; 5]);
        for _ in 0..PICKS / 1_000 {
            for _ in 0..500 {
                let grant = run.pick();
                with[grant.key as usize] += 1;
                run.bed.answer(&grant, Verdict::Ok, &[]);
                run.bed.release(grant).unwrap();
            }
            let (now, until) = (run.bed.clock(), run.bed.now + 10);
            run.bed
                .zone()
                .learn_cool_down(3, Cause::RateLimited, 0, until, now);
            for _ in 0..500 {
                let grant = run.pick();
                without[grant.key as usize] += 1;
                run.bed.release(grant).unwrap();
            }
            run.bed.now = until;
        }
        let weights = promised(balance);
        assert_shares(&with, &weights);
        let others = |all: [usize; 5]| [all[0], all[1], all[2], all[4]];
        assert_eq!(without[3], 0);
        let promised = [weights[0], weights[1], weights[2], weights[4]];
        assert_shares(&others(without), &promised);
    }
}

/// As in a failover, a request with a bad key is retried with another key.
#[test]
fn requests_that_try_again_spread_evenly() {
    for balance in ALL {
        let mut run = Run::new(balance, &keys(1));
        let mut count = [0; 5];
        for _ in 0..PICKS {
            let bad = run.pick();
            let mut want = run.bed.want(run.worker);
            want.nonce = run.seed >> 40;
            want.avoid.push(bad.key);
            run.bed.release(bad).unwrap();
            let now = run.bed.clock();
            let grant = run.bed.zone().acquire(&want, now).unwrap();
            assert_ne!(grant.key, bad.key);
            count[bad.key as usize] += 1;
            count[grant.key as usize] += 1;
            run.bed.release(grant).unwrap();
        }
        if balance == Balance::Weighted {
            continue; // Retries change the shares: they are not in proportion.
        }
        assert_shares(&count, &promised(balance));
    }
}
