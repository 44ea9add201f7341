//! Reports about a key from other machines and from probes.

use openai_wire::Verdict;

use super::bed::{Bed, pool};
use super::health::{bed, serve};
use crate::lease::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

#[test]
fn what_many_tell_of_a_key_is_news_once() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let now = bed.clock();
    let until = now.mono_ms + 10_000;
    let told = |bed: &mut Bed, until| {
        bed.zone()
            .learn_cool_down(0, Cause::InvalidKey, 4, until, now)
    };
    let out = KeyChange::CoolingDown {
        cause: Cause::InvalidKey,
        until_ms: until,
        failures: 4,
    };
    assert_eq!(told(&mut bed, until), Some(out));
    assert!(bed.zone().is_cooling_down(0, now));
    // The same report by other nodes and to other workers, slightly later.
    assert_eq!(told(&mut bed, until + 300), None);
    assert_eq!(told(&mut bed, until - 5_000), None);
    let longer = KeyChange::CoolingDown {
        cause: Cause::InvalidKey,
        until_ms: until + 9_000,
        failures: 4,
    };
    assert_eq!(told(&mut bed, until + 9_000), Some(longer));
    bed.now = until + 9_000;
    let now = bed.clock();
    bed.zone().expire(now);
    assert!(!bed.zone().is_cooling_down(0, now));
}

#[test]
fn what_others_tell_outweighs_a_lighter_cause() {
    let mut config = pool("p", &[(1, 1, 1)], Balance::RoundRobin);
    config.policy.rpm = 1;
    let mut bed = Bed::new(&config);
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let (now, until) = (bed.clock(), bed.now + 100);
    assert_eq!(bed.view(0).cause, Some(Cause::ConfiguredLimit));
    let told = bed
        .zone()
        .learn_cool_down(0, Cause::RateLimited, 1, until, now);
    assert!(told.is_some());
    bed.zone().unused(lease.handle, now).unwrap();
    assert_eq!(bed.view(0).cause, Some(Cause::RateLimited), "not shortened");
}

#[test]
fn a_probe_shows_whether_a_key_that_was_refused_works_again() {
    let (mut bed, worker) = bed(&[3]);
    serve(&mut bed, worker, Verdict::InvalidKey, &[]);
    let probe = |bed: &mut Bed, verdict| {
        let now = bed.clock();
        bed.zone().probed_key(0, verdict, now)
    };
    bed.now += MINUTE - 1;
    for verdict in [
        Verdict::RateLimited,
        Verdict::UpstreamError,
        Verdict::ClientError,
    ] {
        assert_eq!(probe(&mut bed, verdict), None);
    }
    let Some(KeyChange::CoolingDown {
        until_ms,
        failures: 2,
        ..
    }) = probe(&mut bed, Verdict::InvalidKey)
    else {
        panic!("it is out for longer");
    };
    assert_eq!(until_ms, bed.now + 2 * MINUTE);
    bed.now += MINUTE;
    assert_eq!(probe(&mut bed, Verdict::Ok), Some(KeyChange::Recovered));
    assert!(bed.acquire(worker).is_some());
    assert!(bed.acquire(worker).is_none(), "on probation");
    assert_eq!(probe(&mut bed, Verdict::InvalidKey), None, "it is not out");
}

#[test]
fn reports_of_what_a_probe_has_ended_are_ignored() {
    let (mut bed, worker) = bed(&[1]);
    serve(&mut bed, worker, Verdict::InvalidKey, &[]);
    let now = bed.clock();
    let until = bed.now + MINUTE;
    let recovered = bed.zone().probed_key(0, Verdict::Ok, now);
    assert_eq!(recovered, Some(KeyChange::Recovered));
    let mut zone = bed.zone();
    let mut learn = |cause, until| zone.learn_cool_down(0, cause, 1, until, now);
    assert_eq!(learn(Cause::InvalidKey, until), None);
    // It is another one: shorter, but with another cause; or longer.
    assert!(learn(Cause::RateLimited, now.mono_ms + 100).is_some());
    assert!(learn(Cause::InvalidKey, until + MINUTE).is_some());
}

#[test]
fn a_late_answer_does_not_restart_what_a_probe_has_ended() {
    let (mut bed, worker) = bed(&[2]);
    let late = bed.acquire(worker).unwrap();
    serve(&mut bed, worker, Verdict::InvalidKey, &[]);
    let now = bed.clock();
    let recovered = bed.zone().probed_key(0, Verdict::Ok, now);
    assert_eq!(recovered, Some(KeyChange::Recovered));
    assert_eq!(bed.answer(&late, Verdict::InvalidKey, &[]), None);
    assert!(!bed.zone().is_cooling_down(0, now));
}

#[test]
fn a_list_of_models_tells_nothing_of_quota() {
    let (mut bed, worker) = bed(&[1]);
    serve(&mut bed, worker, Verdict::QuotaExceeded, &[]);
    bed.now += HOUR - 1;
    let now = bed.clock();
    assert_eq!(bed.zone().probed_key(0, Verdict::Ok, now), None);
    assert!(bed.zone().is_cooling_down(0, now));
    assert!(
        bed.zone()
            .probed_key(0, Verdict::QuotaExceeded, now)
            .is_some()
    );
    bed.now += HOUR - 1;
    assert!(bed.acquire(worker).is_none());
}
