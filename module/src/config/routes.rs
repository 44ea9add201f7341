//! `openai_routes`: which targets serve which models.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult, Mistake, Position};
use openai_core::routes::{RouteLines, Routes, TargetName};

use super::Main;
use super::lines::{self, Read};

/// A pool and an upstream for requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Position of the pool from which the key is leased.
    pub pool: usize,
    /// Name of the upstream: the value of `$openai_upstream`.
    pub upstream: Option<Rc<str>>,
    /// Position of this upstream, to which the circuit belongs.
    pub circuit: Option<usize>,
}

/// An `openai_routes` block.
pub struct RouteBlock {
    pub name: String,
    pub routes: Routes,
    /// For each list of the routes, its targets in order of preference.
    pub targets: Vec<Rc<[Target]>>,
    /// Position of each list in the configuration file.
    places: Vec<Position>,
}

impl Main {
    /// Position of the `openai_routes` block with this name; fails if there is none.
    pub(super) fn known_routes(&self, name: &str) -> ConfResult<usize> {
        let known = self.routes.iter().map(|block| &*block.name);
        lines::find("routes", "openai_routes", name, known)
    }

    /// Looks up the pools and upstreams of a list of targets.
    pub fn targets(&self, names: &[TargetName]) -> ConfResult<Rc<[Target]>> {
        let target = |name: &TargetName| {
            let pool = self.known_pool(&name.pool)?;
            let circuit = name.upstream.as_deref().map(|name| self.upstream(name));
            let circuit = circuit.transpose()?;
            if let Some(upstream) = circuit {
                self.note_served(upstream, pool);
            }
            Ok(Target {
                pool,
                upstream: name.upstream.as_deref().map(Rc::from),
                circuit,
            })
        };
        names.iter().map(target).collect()
    }

    /// Position of the pool with this name; fails if there is none.
    pub(super) fn known_pool(&self, name: &str) -> ConfResult<usize> {
        let known = self.pools.iter().map(|pool| &*pool.name);
        lines::find("pool", "openai_pool", name, known)
    }

    /// Records that requests with keys of a pool go to an upstream.
    pub(super) fn note_served(&self, upstream: usize, pool: usize) {
        let mut served = self.served.borrow_mut();
        if !served.contains(&(upstream, pool)) {
            served.push((upstream, pool));
        }
    }

    /// Looks up the targets of all routes, once all blocks have been read.
    pub(super) fn resolve_routes(&mut self) -> Result<(), Mistake> {
        for at in 0..self.routes.len() {
            let block = &self.routes[at];
            let lists = block.routes.lists().iter().zip(&block.places);
            let targets = lists.map(|(list, place)| {
                let mistake = |e| place.mistake(format!("openai_routes \"{}\": {e}", block.name));
                self.targets(list).map_err(mistake)
            });
            let targets = targets.collect::<Result<_, _>>()?;
            self.routes[at].targets = targets;
        }
        Ok(())
    }
}

/// Reads an `openai_routes` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let name = lines::name(conf, "off", |name| main.known_routes(name).is_ok())?;
    let (mut routes, mut places) = (RouteLines::default(), vec![]);
    lines::block(conf, |conf, line| {
        for name in ["model", "otherwise", "alias"] {
            line.each(name, |words| {
                // All lines except aliases have a list of targets.
                if name != "alias" {
                    places.push(conf.position());
                }
                routes.read(name, words).map_err(|e| e.to_string())
            });
        }
    })?;
    let routes = routes.finish().map_err(|e| format!("\"{name}\" {e}"))?;
    main.routes.push(RouteBlock {
        name,
        routes,
        targets: Vec::new(),
        places,
    });
    Ok(())
}
