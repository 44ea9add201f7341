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

impl Main {
    /// Position of the upstream with this name. It gets default settings if it has no
    /// block, so call this after all blocks have been read.
    pub fn upstream(&self, name: &str) -> ConfResult<usize> {
        let known = self.upstreams.borrow().iter().position(|u| u.name == name);
        match known {
            Some(at) => self.upstreams.borrow_mut()[at].implied = false,
            None => return self.add_upstream(name.to_string(), CircuitSettings::default(), None),
        }
        Ok(known.unwrap_or_default())
    }

    /// Position of an upstream that a location uses, although no target names it. `None` if
    /// it cannot have a circuit: the configuration is valid nevertheless.
    pub fn implied_upstream(&self, name: &str) -> Option<usize> {
        let mut upstreams = self.upstreams.borrow_mut();
        if let Some(known) = upstreams.iter().position(|u| u.name == name) {
            return Some(known);
        }
        let implied = upstreams.iter().filter(|u| u.implied).count();
        if name.is_empty() || name.len() > MAX_UPSTREAM || implied == MAX_CIRCUITS {
            return None;
        }
        upstreams.push(Upstream {
            name: name.to_owned(),
            implied: true,
            circuit: CircuitSettings::default(),
            probe: None,
        });
        Some(upstreams.len() - 1)
    }

    fn add_upstream(
        &self,
        name: String,
        circuit: CircuitSettings,
        probe: Option<Rc<ProbeSettings>>,
    ) -> ConfResult<usize> {
        if begins_like_a_key(&name) {
            return Err(format!("invalid name \"{name}\""));
        }
        if name.is_empty() || name.len() > MAX_UPSTREAM {
            return Err(format!("\"{name}\" must have 1 to {MAX_UPSTREAM} bytes"));
        }
        let mut upstreams = self.upstreams.borrow_mut();
        if upstreams.iter().filter(|u| !u.implied).count() == MAX_CIRCUITS {
            return Err(format!(
                "\"{name}\": there are more than {MAX_CIRCUITS} upstreams"
            ));
        }
        upstreams.push(Upstream {
            name,
            implied: false,
            circuit,
            probe,
        });
        Ok(upstreams.len() - 1)
    }
}

/// Reads an `openai_upstream` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let upstreams = main.upstreams.get_mut();
    let name = lines::name(conf, "", |name| upstreams.iter().any(|u| u.name == name))?;
    let (mut circuit, mut probe) = (CircuitSettings::default(), None);
    let window = |text: &str| Ok(values::time(SECOND..=HOUR)(text)? as u32);
    let failures = values::or_off(values::number(1..=1_000_000));
    let seen = lines::block(conf, |conf, line| {
        line.one("errors", &mut circuit.errors, values::or_off(share));
        line.one("failures", &mut circuit.failures, &failures);
        line.one(
            "requests",
            &mut circuit.requests,
            values::number(1..=1_000_000),
        );
        line.one("window", &mut circuit.window_ms, window);
        line.once("open", |words| open(words, &mut circuit));
        line.one("probes", &mut circuit.probes, values::number(1..=1_000));
        line.once("probe", |words| {
            probe = Some(Rc::new(probe::read(conf, words)?));
            Ok(())
        });
    })?;
    // With `errors off` the circuit opens only if `failures` is set.
    if circuit.errors.is_none() && !seen.contains(&"failures") {
        circuit.failures = None;
    }
    main.add_upstream(name, circuit, probe)?;
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
    lines::parameters(parameters, |line| line.one("max", &mut longest, time))?;
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
