//! Directives of the levels `http`, `server` and `location`.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult, LocationConf, Mistake, missing_semicolon};
use openai_core::routes::TargetName;

use super::abort::ClientAbort;
use super::api::Api;
use super::lines::{self, Placed, Read};
use super::next_key::NextKey;
use super::trace::Trace;
use super::usage::Usage;
use super::{Main, Target, values};

/// What to do with a body that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    Pass,
    Reject,
}

/// The part of the module that answers the requests of a location, without an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Api,
    Metrics,
}

settings! {
    /// Settings at one level.
    pub struct Location {
        /// An `if` or `limit_except` block without a handler inherits that of its location.
        pub answers: Option<Answers>,
        choice: Option<Placed<Choice>>,
        /// The targets of all requests; `None` if requests are routed by model or get no key.
        pub targets: Option<Rc<[Target]>>,
        /// Position of the `openai_routes` block that routes the requests.
        pub routes: Option<usize>,
        pub(super) auth: Option<Placed<bool>>,
        /// Whether requests need a client token.
        pub asks_token: bool,
        pub next_key: NextKey,
        pub api: Api,
        pub usage: Usage,
        pub trace: Trace,
        /// Whether a handler sends the requests upstream and can add a key.
        pub sends: bool,
        /// Position of the upstream for targets that name none, if it has a circuit.
        upstream: Option<usize>,
    }
    inherited {
        /// Whether bodies are read.
        inspects: bool = true,
        /// Maximum size of bodies that are read.
        inspect_max: u64 = 32 << 20,
        /// What to do with bodies that are larger.
        oversize: Otherwise = Otherwise::Pass,
        /// What to do with bodies that are not JSON objects.
        invalid: Otherwise = Otherwise::Pass,
        /// What to do with the upstream's response when the client has left.
        client_abort: ClientAbort = ClientAbort::Close,
    }
}

/// Source of keys: the value of `openai` or `openai_route`.
#[derive(Clone)]
enum Choice {
    Off,
    Targets(Vec<TargetName>),
    Routes(String),
}

impl Location {
    /// Whether requests get a key here.
    pub fn serves(&self) -> bool {
        self.has_pool() && self.answers.is_none()
    }

    fn has_pool(&self) -> bool {
        self.targets.is_some() || self.routes.is_some()
    }

    /// Position of the upstream to which requests with this target go.
    pub fn upstream_of(&self, target: &Target) -> Option<usize> {
        target.circuit.or(self.upstream)
    }

    /// Whether the location belongs to the gateway, so that its errors have OpenAI's form.
    pub fn is_gateway(&self) -> bool {
        self.asks_token || self.serves() || self.api.is_served()
    }

    fn resolve(&mut self, main: &Main, conf: &Conf) -> Result<(), Mistake> {
        if let Some(placed) = &self.choice {
            match &placed.value {
                Choice::Targets(names) if self.targets.is_none() => {
                    let found = targets(main, names, conf);
                    let mistake = |e| placed.mistake(format!("openai: {e}"));
                    self.targets = Some(found.map_err(mistake)?);
                }
                Choice::Routes(name) => {
                    let found = main.known_routes(name);
                    let mistake = |e| placed.mistake(format!("openai_route: {e}"));
                    self.routes = Some(found.map_err(mistake)?);
                    if !self.inspects() {
                        return Err(placed.mistake(
                            "openai_route: \"openai_inspect off\" hides the model, remove it",
                        ));
                    }
                }
                _ => {}
            }
        }
        let auth = self.auth.as_ref().filter(|auth| auth.value);
        if let Some(auth) = auth.filter(|_| main.clients.is_none()) {
            let needs = "openai_auth: \"on\" needs an \"openai_clients\" block in http";
            return Err(auth.mistake(needs));
        }
        // The lock service always needs a token. Other locations with a pool need one by
        // default, also if the module answers their requests.
        let auth = self.auth.as_ref().map(|auth| auth.value);
        let asks = auth.unwrap_or(self.has_pool() && main.clients.is_some());
        self.asks_token = self.api.is_served() || asks;
        Ok(())
    }
}

/// Looks up the pools that `openai` names.
fn targets(main: &Main, names: &[TargetName], conf: &Conf) -> ConfResult<Rc<[Target]>> {
    main.targets(names).map_err(|e| {
        let unknown = |name: &&TargetName| main.known_pool(&name.pool).is_err();
        let unknown = names.iter().skip(1).find(unknown);
        // If this directive lacks its semicolon, the name of the next one is among its targets.
        let next = unknown.filter(|name| conf.has_directive(&name.pool));
        next.map_or(e, |next| missing_semicolon(&next.pool))
    })
}

impl LocationConf for Location {
    type Main = Main;

    fn inherit(&mut self, above: &Self, main: &Main, conf: &Conf) -> Result<(), Mistake> {
        if self.choice.is_none() {
            self.choice.clone_from(&above.choice);
            self.targets.clone_from(&above.targets);
            self.routes = above.routes;
        }
        lines::inherit(&mut self.auth, &above.auth);
        self.inherit_settings(above);
        self.api.inherit_settings(&above.api);
        self.next_key.inherit_settings(&above.next_key);
        self.trace.inherit_settings(&above.trace);
        self.usage.inherit_settings(&above.usage);
        self.api.resolve(main)?;
        self.resolve(main, conf)
    }

    fn continues(&mut self, above: &Self) {
        lines::inherit(&mut self.answers, &above.answers);
        lines::inherit(&mut self.api.pools, &above.api.pools);
        lines::inherit(&mut self.api.known, &above.api.known);
    }

    fn found_upstream(&mut self, name: &str, main: &Main) {
        let lists = match (&self.targets, self.routes) {
            (Some(targets), _) => std::slice::from_ref(targets),
            (None, Some(at)) => main.routes.get(at).map_or(&[][..], |r| &r.targets),
            (None, None) => return,
        };
        let targets = lists.iter().flat_map(|targets| targets.iter());
        let unnamed: Vec<_> = targets.filter(|target| target.circuit.is_none()).collect();
        if unnamed.is_empty() {
            return;
        }
        self.upstream = main.implied_upstream(name);
        for (upstream, target) in self.upstream.into_iter().cycle().zip(unnamed) {
            main.note_served(upstream, target.pool);
        }
    }

    fn found_handler(&mut self) {
        self.sends = true;
    }

    fn is_own(&self) -> bool {
        self.answers.is_some()
    }

    fn is_wrapped(&self) -> bool {
        self.serves()
    }

    fn drains(&self) -> bool {
        self.client_abort() != ClientAbort::Close
    }
}

/// Reads `pass` or `reject`.
pub fn otherwise(text: &str) -> ConfResult<Otherwise> {
    let words = [("pass", Otherwise::Pass), ("reject", Otherwise::Reject)];
    values::one_of(&words)(text)
}

/// Reads `openai`.
pub fn openai(conf: &mut Conf, location: &mut Location) -> Read {
    choose(conf, location, |names| {
        let targets = TargetName::parse_list(names.iter().copied());
        targets.map(Choice::Targets).map_err(|e| e.to_string())
    })
}

/// Reads `openai_route`.
pub fn route(conf: &mut Conf, location: &mut Location) -> Read {
    choose(conf, location, |names| Ok(Choice::Routes(names.concat())))
}

/// Stores the source of keys. `openai` and `openai_route` exclude each other.
fn choose(
    conf: &Conf,
    location: &mut Location,
    read: impl FnOnce(&[&str]) -> ConfResult<Choice>,
) -> Read {
    if location.choice.is_some() {
        let words = conf.words()?[1..].join(" ");
        return Err(Some(format!(
            "\"{words}\" is a duplicate: a block can have one \"openai\" or \"openai_route\""
        )));
    }
    lines::many(conf, &mut location.choice, |names| {
        let choice = match names {
            ["off"] => Choice::Off,
            _ => read(names)?,
        };
        Ok(Placed::new(conf, choice))
    })
}
