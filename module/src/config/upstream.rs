//! `openai_upstream`: circuits of upstreams, including those without a block.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult};
use openai_core::circuit::{CircuitSettings, Share};
use openai_core::digits;
use openai_core::echo::begins_like_a_key;
use openai_core::lease::MAX_CIRCUITS;
use openai_core::routes::MAX_UPSTREAM;

use super::lines::{self, Read};
use super::values::{self, HOUR, SECOND};
use super::{Main, ProbeSettings, probe};

/// An upstream with a circuit.
pub struct Upstream {
    pub name: String,
    /// Whether it has no block and no target names it: it is only used by a location.
    pub implied: bool,
    pub circuit: CircuitSettings,
    /// How it is probed, if it is.
    pub probe: Option<Rc<ProbeSettings>>,
}

impl Upstream {
    /// An upstream without a block.
    fn new(name: &str, implied: bool) -> Self {
        Self {
            name: name.to_owned(),
            implied,
            circuit: CircuitSettings::default(),
            probe: None,
        }
    }
}

impl Main {
    fn upstream_named(&self, name: &str) -> Option<usize> {
        self.upstreams.borrow().iter().position(|u| u.name == name)
    }

    /// Position of the upstream with this name. It gets default settings if it has no
    /// block, so call this after all blocks have been read.
    pub fn upstream(&self, name: &str) -> ConfResult<usize> {
        let Some(at) = self.upstream_named(name) else {
            return self.add_upstream(Upstream::new(name, false));
        };
        self.upstreams.borrow_mut()[at].implied = false;
        Ok(at)
    }

    /// Position of an upstream that a location uses, although no target names it. `None` if
    /// it cannot have a circuit: the configuration is valid nevertheless.
    pub fn implied_upstream(&self, name: &str) -> Option<usize> {
        let known = self.upstream_named(name);
        known.or_else(|| self.add_upstream(Upstream::new(name, true)).ok())
    }

    fn add_upstream(&self, upstream: Upstream) -> ConfResult<usize> {
        let (name, implied) = (&upstream.name, upstream.implied);
        if begins_like_a_key(name) && !implied {
            return Err(format!("invalid name \"{name}\""));
        }
        if name.is_empty() || name.len() > MAX_UPSTREAM {
            return Err(format!("\"{name}\" must have 1 to {MAX_UPSTREAM} bytes"));
        }
        let mut upstreams = self.upstreams.borrow_mut();
        if upstreams.iter().filter(|u| u.implied == implied).count() == MAX_CIRCUITS {
            return Err(format!(
                "\"{name}\": there are more than {MAX_CIRCUITS} upstreams"
            ));
        }
        upstreams.push(upstream);
        Ok(upstreams.len() - 1)
    }
}

/// Reads an `openai_upstream` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let name = lines::name(conf, "", |name| main.upstream_named(name).is_some())?;
    let mut upstream = Upstream::new(&name, false);
    let circuit = &mut upstream.circuit;
    let window = |text: &str| Ok(values::time(SECOND..=HOUR)(text)? as u32);
    let failures = values::unless_off(0, values::number(1..=1_000_000));
    let seen = lines::block(conf, |conf, line| {
        line.one(
            "errors",
            &mut circuit.errors,
            values::unless_off(Share(0), share),
        );
        line.one("failures", &mut circuit.failures, &failures);
        line.one(
            "requests",
            &mut circuit.requests,
            values::number(1..=1_000_000),
        );
        line.one("window", &mut circuit.window_ms, window);
        line.once("open", |words| open(words, circuit));
        line.one("probes", &mut circuit.probes, values::number(1..=1_000));
        line.once("probe", |words| {
            upstream.probe = Some(Rc::new(probe::read(conf, words)?));
            Ok(())
        });
    })?;
    // With `errors off` the circuit opens only if `failures` is set.
    if circuit.errors == Share(0) && !seen.contains(&"failures") {
        circuit.failures = 0;
    }
    main.add_upstream(upstream)?;
    Ok(())
}

fn share(value: &str) -> ConfResult<Share> {
    let percent = value.strip_suffix('%').and_then(digits);
    match percent {
        Some(percent @ 1..=100) => Ok(Share(percent * 100)),
        _ => Err(values::invalid(value, "from 1% to 100%")),
    }
}

/// Reads the duration of the first opening, and the longest if it is given.
fn open(words: &[&str], circuit: &mut CircuitSettings) -> ConfResult {
    let [first, parameters @ ..] = words else {
        return Err("takes a time".into());
    };
    let time = |text: &str| Ok(values::time(100..=HOUR)(text)? as u32);
    circuit.open_ms = time(first)?;
    let mut longest = circuit.open_max_ms.max(circuit.open_ms);
    lines::parameters(parameters, |option| option.one("max", &mut longest, time))?;
    if longest < circuit.open_ms {
        let least = values::as_time(circuit.open_ms.into());
        return Err(format!(
            "{} is shorter than the first time, it must be {least} or more",
            parameters.concat()
        ));
    }
    circuit.open_max_ms = longest;
    Ok(())
}
