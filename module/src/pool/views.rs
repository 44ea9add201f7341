//! What the zone holds: gauges, keys and circuits.

use std::collections::HashMap;

use openai_core::circuit::CircuitView;
use openai_core::lease::{KeyView, PoolGauges, PoolId};

use super::zone::in_zone;
use crate::config::TakenOver;
use crate::telemetry::now;

/// What a pool holds now, over all workers.
pub fn gauges(known: &TakenOver, pool: usize) -> Option<PoolGauges> {
    let id = known.pools.get(pool)?.id;
    in_zone(|zone| {
        zone.expire(now());
        zone.gauges(id)
    })
}

/// All pools, keys and circuits at one moment.
pub struct Standing {
    /// In the order of the configuration.
    pub gauges: Vec<PoolGauges>,
    /// Keys, with the positions of their pools.
    pub keys: Vec<(usize, KeyView)>,
    /// In the order of the upstreams.
    pub circuits: Vec<Option<CircuitView>>,
}

/// How everything does: one look at the zone.
pub fn standing(known: &TakenOver) -> Option<Standing> {
    let positions = known
        .pools
        .iter()
        .enumerate()
        .map(|(at, pool)| (pool.id, at));
    let positions: HashMap<PoolId, usize> = positions.collect();
    let now = now();
    let (gauges, keys, circuits) = in_zone(|zone| {
        zone.expire(now);
        let gauges: Vec<_> = known
            .pools
            .iter()
            .map(|pool| zone.gauges(pool.id))
            .collect();
        let circuits = known.circuits.iter();
        let circuits: Vec<_> = circuits.map(|&id| zone.circuit_status(id?, now)).collect();
        (gauges, zone.keys(now), circuits)
    })?;
    let keys = keys.into_iter();
    let keys = keys.filter_map(|(pool, view)| Some((*positions.get(&pool)?, view)));
    Some(Standing {
        gauges,
        keys: keys.collect(),
        circuits,
    })
}

/// How each key of a pool does.
pub fn listing(known: &TakenOver, pool: usize) -> Option<Vec<KeyView>> {
    let id = known.pools.get(pool)?.id;
    in_zone(|zone| {
        let now = now();
        zone.expire(now);
        zone.listing(id, now)
    })
}
