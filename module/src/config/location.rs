//! The directives that may stand in `http`, `server` and `location`.

use std::ffi::CStr;
use std::rc::Rc;

use nginx_safe::{
    Args, Conf, ConfResult, ContentHandler, Directive, LocationConf, Scope, argument,
};
use openai_core::routes::TargetName;

use super::abort::ClientAbort;
use super::api::Api;
use super::next_key::NextKey;
use super::trace::Trace;
use super::usage::Usage;
use super::{Main, Target, values};

/// What to do with a body that cannot be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    #[default]
    Pass,
    Reject,
}

/// What of ours answers the requests of a location in place of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Api,
    Metrics,
}

/// What a level says; `None` is inherited.
#[derive(Default)]
pub struct Location {
    /// An `if` block goes on with the handler of its location.
    pub answers: Option<Answers>,
    choice: Option<Choice>,
    auth: Option<bool>,
    inspect: Option<bool>,
    inspect_max: Option<usize>,
    oversize: Option<Otherwise>,
    invalid: Option<Otherwise>,
    /// Whether a client token is asked for here.
    asks_token: bool,
    pub(super) next_key: NextKey,
    pub api: Api,
    pub(super) usage: Usage,
    pub(super) trace: Trace,
    pub(super) client_abort: Option<ClientAbort>,
    content: ContentHandler,
    /// The position of the upstream that targets without one go to, for its circuit.
    upstream: Option<usize>,
}

/// Where keys come from: what `openai` or `openai_route` says.
#[derive(Clone)]
enum Choice {
    Off,
    /// By names that have not been looked up yet.
    NamedTargets(Vec<TargetName>),
    NamedRoutes(String),
    Targets(Rc<[Target]>),
    /// The position of the `openai_routes`.
    Routes(usize),
}

impl Location {
    /// Whether requests get a key here.
    pub fn serves(&self) -> bool {
        let chosen = matches!(self.choice, Some(Choice::Targets(_) | Choice::Routes(_)));
        chosen && !self.api.is_served()
    }

    /// The targets of requests here, unless they are routed by their model.
    pub fn targets(&self) -> Option<Rc<[Target]>> {
        match &self.choice {
            Some(Choice::Targets(targets)) => Some(targets.clone()),
            _ => None,
        }
    }

    /// The position of the `openai_routes` that requests are routed by here.
    pub fn routes(&self) -> Option<usize> {
        match self.choice {
            Some(Choice::Routes(at)) => Some(at),
            _ => None,
        }
    }

    /// The position of the upstream that a target goes to here.
    pub fn upstream_of(&self, target: &Target) -> Option<usize> {
        target.circuit.or(self.upstream)
    }

    /// Whether a client token is asked for here.
    pub fn asks_token(&self) -> bool {
        self.asks_token
    }

    /// Whether requests here are the gateway's, so that errors have its form.
    pub fn is_gateway(&self) -> bool {
        self.asks_token || self.serves() || self.api.is_served()
    }

    /// Whether requests here are sent on by a handler, to which a key can be given.
    pub fn sends(&self) -> bool {
        self.content.is_set()
    }

    pub fn inspects(&self) -> bool {
        self.inspect.unwrap_or(true)
    }

    pub fn inspect_max(&self) -> u64 {
        self.inspect_max.unwrap_or(32 << 20) as u64
    }

    pub fn oversize(&self) -> Otherwise {
        self.oversize.unwrap_or_default()
    }

    pub fn invalid(&self) -> Otherwise {
        self.invalid.unwrap_or_default()
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// What becomes of an answer whose client has left.
    pub fn client_abort(&self) -> ClientAbort {
        self.client_abort.unwrap_or_default()
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    pub fn next_key(&self) -> &NextKey {
        &self.next_key
    }

    fn resolve(&mut self, main: &Main) -> ConfResult {
        match &self.choice {
            Some(Choice::NamedTargets(names)) => {
                let targets = main.targets(names).map_err(|e| format!("openai: {e}"))?;
                self.choice = Some(Choice::Targets(targets));
            }
            Some(Choice::NamedRoutes(name)) => {
                let at = main.routes_named(name);
                let at = at.ok_or_else(|| format!("openai_route: no openai_routes \"{name}\""))?;
                self.choice = Some(Choice::Routes(at));
            }
            _ => {}
        }
        if self.routes().is_some() && !self.inspects() {
            return Err("openai_route: \"openai_inspect off\" hides the model".into());
        }
        let serves = self.serves() || self.api.is_served();
        if self.auth == Some(true) && main.clients.is_none() {
            return Err("openai_auth: \"on\" needs an \"openai_clients\" block".into());
        }
        // The API is never open, whatever the levels above say of what they serve.
        self.asks_token =
            self.api.is_served() || self.auth.unwrap_or(serves && main.clients.is_some());
        Ok(())
    }
}

impl LocationConf for Location {
    type Main = Main;

    fn inherit(&mut self, above: &Self, main: &Main) -> ConfResult {
        self.choice = self.choice.take().or_else(|| above.choice.clone());
        self.answers = self.answers.or(above.answers);
        self.auth = self.auth.or(above.auth);
        self.inspect = self.inspect.or(above.inspect);
        self.inspect_max = self.inspect_max.or(above.inspect_max);
        self.oversize = self.oversize.or(above.oversize);
        self.invalid = self.invalid.or(above.invalid);
        self.next_key.inherit(&above.next_key);
        self.api.inherit(&above.api, main)?;
        self.usage.inherit(&above.usage);
        self.trace.inherit(&above.trace);
        self.client_abort = self.client_abort.or(above.client_abort);
        self.resolve(main)
    }

    fn found_upstream(&mut self, name: &str, main: &Main) {
        let lists = match &self.choice {
            Some(Choice::Targets(targets)) => std::slice::from_ref(targets),
            Some(Choice::Routes(at)) => main.routes.get(*at).map_or(&[][..], |r| &r.targets),
            _ => return,
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

    fn content(&self) -> &ContentHandler {
        &self.content
    }

    fn needs_key(&self) -> bool {
        self.serves()
    }

    fn drains(&self) -> bool {
        self.client_abort() != ClientAbort::Close
    }
}

pub(super) fn once<T>(
    conf: &Conf,
    place: &mut Option<T>,
    parse: impl FnOnce(&str) -> ConfResult<T>,
) -> Result<(), Option<String>> {
    let value = argument(conf)?;
    if place.is_some() {
        return Err(Some(format!("\"{value}\" is a duplicate")));
    }
    *place = Some(parse(&value)?);
    Ok(())
}

fn otherwise(text: &str) -> ConfResult<Otherwise> {
    match text {
        "pass" => Ok(Otherwise::Pass),
        "reject" => Ok(Otherwise::Reject),
        _ => Err(format!(
            "invalid value \"{text}\", it must be \"pass\" or \"reject\""
        )),
    }
}

pub struct OpenaiPool;

impl Directive for OpenaiPool {
    type Target = Location;
    const NAME: &'static CStr = c"openai";
    const SCOPE: Scope = Scope::Everywhere;
    const ARGS: Args = Args::Many;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        let words = conf.words()?;
        let names = words.get(1..).unwrap_or_default();
        choose(target, names, || {
            let targets = TargetName::parse_list(names.iter().copied());
            targets.map(Choice::NamedTargets).map_err(|e| e.to_string())
        })
    }
}

pub struct OpenaiRoute;

impl Directive for OpenaiRoute {
    type Target = Location;
    const NAME: &'static CStr = c"openai_route";
    const SCOPE: Scope = Scope::Everywhere;
    const ARGS: Args = Args::One;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        let name = argument(conf)?;
        choose(target, &[&name], || Ok(Choice::NamedRoutes(name.clone())))
    }
}

/// Notes where keys come from; `openai` and `openai_route` say it in turn of each other.
fn choose(
    target: &mut Location,
    words: &[&str],
    read: impl FnOnce() -> ConfResult<Choice>,
) -> Result<(), Option<String>> {
    if target.choice.is_some() {
        let said = words.join(" ");
        return Err(Some(format!(
            "\"{said}\" is a duplicate: one \"openai\" or \"openai_route\" a level"
        )));
    }
    target.choice = Some(if *words == ["off"] {
        Choice::Off
    } else {
        read()?
    });
    Ok(())
}

macro_rules! directive {
    ($type:ident, $name:literal, $args:ident, $field:ident, $parse:expr) => {
        pub struct $type;
        impl Directive for $type {
            type Target = Location;
            const NAME: &'static CStr = $name;
            const SCOPE: Scope = Scope::Everywhere;
            const ARGS: Args = Args::$args;
            fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
                once(conf, &mut target.$field, $parse)
            }
        }
    };
}

directive!(Auth, c"openai_auth", Flag, auth, values::flag);
directive!(Inspect, c"openai_inspect", Flag, inspect, values::flag);
directive!(
    InspectMaxSize,
    c"openai_inspect_max_size",
    One,
    inspect_max,
    values::size
);
directive!(
    InspectOversize,
    c"openai_inspect_oversize",
    One,
    oversize,
    otherwise
);
directive!(
    InspectInvalid,
    c"openai_inspect_invalid",
    One,
    invalid,
    otherwise
);
