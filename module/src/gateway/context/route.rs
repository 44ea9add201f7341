//! Where a request may go.

use std::rc::Rc;

use openai_core::routes::{Alias, Routed};

use super::Context;
use crate::config::{Main, Pool, Target};
use crate::telemetry::now;

/// Where a request may go.
#[derive(Default)]
pub struct Route {
    /// The `openai_routes` that routed it, and where to.
    pub routed: Option<(usize, Routed)>,
    /// The targets, in the order of preference.
    pub targets: Option<Rc<[Target]>>,
    /// Which of them was chosen.
    pub chosen: Option<usize>,
}

impl Context {
    /// The targets of the request, in the order of preference.
    pub fn targets(&self) -> Option<Rc<[Target]>> {
        self.route.borrow().targets.clone()
    }

    /// The target that was chosen.
    pub fn chosen(&self) -> Option<Target> {
        let route = self.route.borrow();
        route.targets.as_ref()?.get(route.chosen?).cloned()
    }

    /// The pool of the target that was chosen, and its position.
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

    /// The alias that the request asked for.
    pub fn alias<'a>(&self, main: &'a Main) -> Option<&'a Alias> {
        let (at, routed) = self.route.borrow().routed?;
        main.routes.get(at)?.routes.alias(routed)
    }

    /// Has the request ask for a key of one pool, wherever it goes.
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
}
