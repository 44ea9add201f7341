//! `openai_routes`: which targets serve which models.

use std::ffi::CStr;
use std::rc::Rc;

use nginx_safe::{Args, Block, Conf, ConfResult, Directive, Scope, argument};
use openai_core::routes::{RouteLines, Routes, TargetName};

use super::Main;

/// Where a request may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The position of the pool that its key is leased from.
    pub pool: usize,
    /// The upstream that `$openai_upstream` tells.
    pub upstream: Option<Rc<str>>,
    /// The position of that upstream, for its circuit.
    pub circuit: Option<usize>,
}

/// A block, as it is stated.
pub struct RouteBlock {
    pub name: String,
    pub routes: Routes,
    /// For each list of the routes, its targets in the order of preference.
    pub targets: Vec<Rc<[Target]>>,
}

impl Main {
    /// The position of the `openai_routes` of this name.
    pub fn routes_named(&self, name: &str) -> Option<usize> {
        self.routes.iter().position(|block| block.name == name)
    }

    /// Finds the pools that a list of targets names.
    pub fn targets(&self, names: &[TargetName]) -> ConfResult<Rc<[Target]>> {
        let target = |name: &TargetName| {
            let pool = self.pool_named(&name.pool);
            let pool = pool.ok_or_else(|| format!("no pool \"{}\"", name.pool))?;
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

    /// Notes that requests with keys of a pool go to an upstream.
    pub(super) fn note_served(&self, upstream: usize, pool: usize) {
        let mut served = self.served.borrow_mut();
        if !served.contains(&(upstream, pool)) {
            served.push((upstream, pool));
        }
    }

    /// Finds the pools that routes name, once all have been read.
    pub(super) fn resolve_routes(&mut self) -> ConfResult {
        for at in 0..self.routes.len() {
            let block = &self.routes[at];
            let targets = block.routes.lists().iter().map(|list| self.targets(list));
            let targets = targets.collect::<Result<_, _>>();
            let targets = targets.map_err(|e| format!("openai_routes \"{}\": {e}", block.name))?;
            self.routes[at].targets = targets;
        }
        Ok(())
    }
}

pub struct RoutesBlock;

impl Directive for RoutesBlock {
    type Target = Main;
    const NAME: &'static CStr = c"openai_routes";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::NamedBlock;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let name = argument(conf)?;
        if name == "off" || name.is_empty() {
            return Err(Some(format!("invalid name \"{name}\"")));
        }
        if main.routes_named(&name).is_some() {
            return Err(Some(format!("\"{name}\" is a duplicate")));
        }
        let mut lines = RouteLines::default();
        let read = |_: &Conf, line: Block<'_>| {
            let [directive, words @ ..] = line.words else {
                return Ok(());
            };
            let read = lines.read(directive, words);
            read.map_err(|e| format!("openai_routes \"{name}\": {directive}: {e}"))
        };
        conf.block(read).map_err(|()| None)?;
        let routes = lines.finish().map_err(|e| format!("\"{name}\" {e}"))?;
        main.routes.push(RouteBlock {
            name,
            routes,
            targets: Vec::new(),
        });
        Ok(())
    }
}
