//! The route of a request.

use std::rc::Rc;

use openai_core::attempts::TargetSet;
use openai_core::routes::{Alias, Routed};

use super::Context;
use crate::config::{Main, Pool, Target};
use crate::telemetry::now;

/// The route of a request.
#[derive(Default)]
pub struct Route {
    /// Position of the `openai_routes` block that routed it, and the result.
    pub routed: Option<(usize, Routed)>,
    /// The targets, in order of preference.
    pub targets: Option<Rc<[Target]>>,
    /// Index of the chosen target.
    pub chosen: Option<usize>,
}

impl Context {
    /// The targets of the request, in order of preference.
    pub fn targets(&self) -> Option<Rc<[Target]>> {
        self.route.borrow().targets.clone()
    }

    /// The target that was chosen.
    pub fn chosen(&self) -> Option<Target> {
        let route = self.route.borrow();
        route.targets.as_ref()?.get(route.chosen?).cloned()
    }

    /// Pool of the chosen target, and its position in the configuration.
    pub fn pool<'a>(&self, main: &'a Main) -> Option<(usize, &'a Pool)> {
        let at = {
            let route = self.route.borrow();
            route.targets.as_ref()?.get(route.chosen?)?.pool
        };
        main.pools.get(at).map(|pool| (at, pool))
    }

    /// The pattern that the request's model matched.
    pub fn pattern<'a>(&self, main: &'a Main) -> Option<&'a str> {
        let (at, routed) = self.route.borrow().routed?;
        main.routes.get(at)?.routes.pattern(routed)
    }

    /// The alias that the request asked for, if its model is one.
    pub fn alias<'a>(&self, main: &'a Main) -> Option<&'a Alias> {
        let (at, routed) = self.route.borrow().routed?;
        main.routes.get(at)?.routes.alias(routed)
    }

    /// Makes the request ask for a key of this pool, whatever the route is.
    pub fn choose_pool(&self, pool: usize) {
        let target = Target {
            pool,
            upstream: None,
            circuit: None,
        };
        *self.route.borrow_mut() = Route {
            routed: None,
            targets: Some([target].into()),
            chosen: Some(0),
        };
        self.note_wait(|wait| wait.asked_ms = now().mono_ms);
    }

    /// Whether the upstream of the chosen target has failed the request before.
    pub fn fails_again(&self) -> bool {
        let failed = self.retries.borrow().failed;
        let chosen = self.route.borrow().chosen;
        chosen.is_some_and(|at| failed.contains(at))
    }

    /// Marks the targets with the chosen upstream to be chosen last.
    pub fn put_last(&self) {
        let (same, _) = self.same_upstream(self.route.borrow().chosen);
        self.retries.borrow_mut().failed.add_all(same);
    }

    /// Targets with the same upstream as this one, and the position of the first of them.
    pub fn same_upstream(&self, target: Option<usize>) -> (TargetSet, usize) {
        let targets = self.targets().unwrap_or_default();
        let target = target.and_then(|at| targets.get(at));
        let (mut same, mut first) = (TargetSet::default(), 0);
        for (at, it) in targets.iter().enumerate().rev() {
            if target.is_some_and(|target| target.upstream == it.upstream) {
                same.add(at);
                first = at;
            }
        }
        (same, first)
    }
}
