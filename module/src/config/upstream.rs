//! `openai_upstream`: the circuit of an upstream, and those of upstreams without a block.

use std::ffi::CStr;
use std::rc::Rc;

use nginx_safe::{Args, Block, Conf, ConfResult, Directive, Scope, argument};
use openai_core::circuit::{CircuitSettings, Share};
use openai_core::echo::begins_like_a_key;
use openai_core::lease::MAX_CIRCUITS;
use openai_core::routes::MAX_UPSTREAM;

use super::{Main, ProbeSettings, probe, values};

/// An upstream with a circuit.
pub struct Upstream {
    pub name: String,
    /// Whether it has neither a block nor a target that names it: locations send to it.
    pub implied: bool,
    pub circuit: CircuitSettings,
    /// How it is asked off the path of requests, if it is.
    pub probe: Option<Rc<ProbeSettings>>,
}

impl Main {
    /// The position of the upstream of this name, with the defaults if it has no block.
    /// Once all blocks have been read.
    pub fn upstream(&self, name: &str) -> ConfResult<usize> {
        let known = self.upstreams.borrow().iter().position(|u| u.name == name);
        match known {
            Some(at) => self.upstreams.borrow_mut()[at].implied = false,
            None => return self.add_upstream(name.to_string(), CircuitSettings::default(), None),
        }
        Ok(known.unwrap_or_default())
    }

    /// The same of an upstream that a location sends to, though no target names it. `None`
    /// if it cannot have a circuit: that is no reason to refuse a configuration.
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
    /// The first time, and the longest.
    open_ms: Option<(u32, Option<u32>)>,
    probes: Option<u32>,
    probe: Option<ProbeSettings>,
}

pub struct UpstreamBlock;

impl Directive for UpstreamBlock {
    type Target = Main;
    const NAME: &'static CStr = c"openai_upstream";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::NamedBlock;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let name = argument(conf)?;
        if main.upstreams.get_mut().iter().any(|u| u.name == name) {
            return Err(Some(format!("\"{name}\" is a duplicate")));
        }
        let mut said = Said::default();
        let read = |conf: &Conf, line: Block<'_>| {
            read_line(conf, line.words, &mut said)
                .map_err(|e| format!("openai_upstream \"{name}\": {e}"))
        };
        conf.block(read).map_err(|()| None)?;
        let probe = said.probe.take().map(Rc::new);
        main.add_upstream(name, said.circuit(), probe)?;
        Ok(())
    }
}

impl Said {
    fn circuit(self) -> CircuitSettings {
        let default = CircuitSettings::default();
        let (open_ms, longest) = self.open_ms.unwrap_or((default.open_ms, None));
        // Without a share the circuit never opens, unless a number is stated.
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

fn read_line(conf: &Conf, words: &[&str], said: &mut Said) -> ConfResult {
    let [name, values @ ..] = words else {
        return Ok(());
    };
    if *name == "open" {
        return values::once(&mut said.open_ms, open(values)).map_err(|e| format!("open: {e}"));
    }
    if *name == "probe" {
        return values::once(&mut said.probe, probe::read(conf, values))
            .map_err(|e| format!("probe: {e}"));
    }
    let [value] = values else {
        return Err(match *name {
            "errors" | "failures" | "requests" | "window" | "probes" => {
                format!("{name}: takes one argument")
            }
            _ => format!("unknown directive \"{name}\""),
        });
    };
    match *name {
        "errors" => values::once(&mut said.errors, errors(value)),
        "failures" => values::once(&mut said.failures, failures(value)),
        "requests" => values::once(&mut said.requests, number(value, 1_000_000)),
        "window" => values::once(&mut said.window_ms, between(value, 1_000, 3_600_000)),
        "probes" => values::once(&mut said.probes, number(value, 1_000)),
        _ => return Err(format!("unknown directive \"{name}\"")),
    }
    .map_err(|e| format!("{name}: {e}"))
}

fn errors(value: &str) -> ConfResult<Option<Share>> {
    if value == "off" {
        return Ok(None);
    }
    let percent = value
        .strip_suffix('%')
        .and_then(|number| number.parse::<u32>().ok());
    match percent {
        Some(percent @ 1..=100) => Ok(Some(Share(percent * 100))),
        _ => Err(format!(
            "invalid value \"{value}\", it must be from 1% to 100%, or \"off\""
        )),
    }
}

fn failures(value: &str) -> ConfResult<Option<u32>> {
    match value {
        "off" => Ok(None),
        _ => number(value, 1_000_000).map(Some),
    }
}

/// The first time that the circuit is open, and the longest, if it is stated.
fn open(values: &[&str]) -> ConfResult<(u32, Option<u32>)> {
    let time = |value| between(value, 100, 3_600_000);
    match *values {
        [first] => Ok((time(first)?, None)),
        [first, parameter] => {
            let longest = parameter
                .strip_prefix("max=")
                .ok_or_else(|| format!("invalid parameter \"{parameter}\""))?;
            let (first, longest_ms) = (time(first)?, time(longest)?);
            if longest_ms < first {
                return Err(format!("max={longest} is shorter than the time itself"));
            }
            Ok((first, Some(longest_ms)))
        }
        _ => Err("takes one or two arguments".into()),
    }
}

fn number(value: &str, most: u32) -> ConfResult<u32> {
    let number = value.parse::<u32>().ok();
    number
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| format!("invalid value \"{value}\", it must be from 1 to {most}"))
}

fn between(value: &str, least: u32, most: u32) -> ConfResult<u32> {
    let ms = u32::try_from(values::time_ms(value)?).ok();
    ms.filter(|ms| (least..=most).contains(ms)).ok_or_else(|| {
        format!("\"{value}\" is out of range, it must be from {least}ms to {most}ms")
    })
}
