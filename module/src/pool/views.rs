//! The state of pools, keys and circuits.

use std::collections::HashMap;
use std::rc::Rc;

use openai_core::circuit::CircuitView;
use openai_core::lease::{KeyView, PoolGauges};

use super::taken_over::taken_over;
use super::zone::in_zone;
use crate::config::{Main, PoolKey};
use crate::telemetry::now;

/// Counts of a pool, over all workers.
pub fn gauges(pool: usize) -> Option<PoolGauges> {
    let id = taken_over()?.pools.get(pool)?.id;
    in_zone(|zone| {
        zone.expire(now());
        zone.gauges(id)
    })
}

/// All pools, keys and circuits at one moment.
#[derive(Default)]
pub struct Standing {
    /// In the order of the configuration.
    pub pools: Vec<PoolStanding>,
    /// For each circuit, the position of its upstream in the configuration, and its name.
    pub circuits: Vec<(usize, String, CircuitView)>,
}

/// A pool and its keys.
pub struct PoolStanding {
    pub gauges: PoolGauges,
    pub keys: Vec<(Rc<PoolKey>, KeyView)>,
}

/// State of all pools, keys and circuits; `None` if this worker is not in a zone.
pub fn standing(main: &Main) -> Option<Standing> {
    let known = taken_over()?;
    let now = now();
    let (gauges, keys, circuits) = in_zone(|zone| {
        zone.expire(now);
        let gauges = known.pools.iter().map(|pool| zone.gauges(pool.id));
        let gauges: Vec<_> = gauges.collect();
        let circuits = known.circuits.iter();
        let circuits: Vec<_> = circuits.map(|&id| zone.circuit_status(id?, now)).collect();
        (gauges, zone.keys(now), circuits)
    })?;
    let pools = gauges.into_iter().map(|gauges| PoolStanding {
        gauges,
        keys: vec![],
    });
    let mut pools: Vec<_> = pools.collect();
    let positions = known.pools.iter().enumerate();
    let positions: HashMap<_, _> = positions.map(|(at, pool)| (pool.id, at)).collect();
    for (id, view) in keys {
        let at = positions.get(&id).copied().unwrap_or(usize::MAX);
        let key = known.pools.get(at).and_then(|pool| pool.keys.get(view.key));
        if let Some((pool, key)) = pools.get_mut(at).zip(key) {
            pool.keys.push((key, view));
        }
    }
    let upstreams = main.upstreams.borrow();
    let circuits = upstreams.iter().zip(circuits).enumerate();
    let circuits = circuits.filter_map(|(at, (up, view))| Some((at, up.name.clone(), view?)));
    Some(Standing {
        pools,
        circuits: circuits.collect(),
    })
}
