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

#[derive(Default)]
struct Said {
    errors: Option<Option<Share>>,
    failures: Option<Option<u32>>,
    requests: Option<u32>,
    window_ms: Option<u32>,
    /// Duration of the first opening, and the longest, in milliseconds.
    open_ms: Option<(u32, Option<u32>)>,
    probes: Option<u32>,
    probe: Option<ProbeSettings>,
}

/// Names of the directives in a block.
const LINES: [&str; 7] = [
    "errors", "failures", "requests", "window", "open", "probes", "probe",
];

/// Reads an `openai_upstream` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let upstreams = main.upstreams.get_mut();
    let name = lines::name(conf, "", |name| upstreams.iter().any(|u| u.name == name))?;
    let mut said = Said::default();
    let share = values::or_off(share);
    let failures = values::or_off(values::number(1..=1_000_000));
    lines::block(conf, &LINES, |conf, line| match line.name {
        "errors" => line.one(&mut said.errors, &share),
        "failures" => line.one(&mut said.failures, &failures),
        "requests" => line.one(&mut said.requests, values::number(1..=1_000_000)),
        "window" => line.one(&mut said.window_ms, values::time(SECOND..=HOUR)),
        "open" => line.many(&mut said.open_ms, open),
        "probes" => line.one(&mut said.probes, values::number(1..=1_000)),
        _ => line.many(&mut said.probe, |words| probe::read(conf, words)),
    })?;
    let probe = said.probe.take().map(Rc::new);
    main.add_upstream(name, said.circuit(), probe)?;
    Ok(())
}

impl Said {
    fn circuit(self) -> CircuitSettings {
        let default = CircuitSettings::default();
        let (open_ms, longest) = self.open_ms.unwrap_or((default.open_ms, None));
        // With `errors off` the circuit opens only if `failures` is set.
        let failures = match self.errors {
            Some(None) => None,
            _ => default.failures,
        };
        CircuitSettings {
            errors: self.errors.unwrap_or(default.errors),
            failures: self.failures.unwrap_or(failures),
            requests: self.requests.unwrap_or(default.requests),
            window_ms: self.window_ms.unwrap_or(default.window_ms),
            open_ms,
            open_max_ms: longest.unwrap_or(default.open_max_ms.max(open_ms)),
            probes: self.probes.unwrap_or(default.probes),
        }
    }
}

fn share(value: &str) -> ConfResult<Share> {
    let percent = value.strip_suffix('%').and_then(digits);
    match percent {
        Some(percent @ 1..=100) => Ok(Share(percent * 100)),
        _ => Err(values::invalid(value, "from 1% to 100%")),
    }
}

/// Reads the duration of the first opening, and the longest if it is given.
fn open(words: &[&str]) -> ConfResult<(u32, Option<u32>)> {
    let [first, parameters @ ..] = words else {
        return Err("takes a time".into());
    };
    let time = values::time::<u32>(100..=HOUR);
    let (first, mut longest) = (time(first)?, None);
    lines::parameters(parameters, &["max"], |line| line.one(&mut longest, &time))?;
    match longest {
        Some(longest) if longest < first => {
            let least = values::as_time(first.into());
            Err(format!(
                "{} is shorter than the first time, it must be {least} or more",
                parameters.concat()
            ))
        }
        _ => Ok((first, longest)),
    }
}
