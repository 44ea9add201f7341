//! `openai_event_log`: a separate log of the module's events.

use nginx_safe::{Conf, Level};
use openai_core::events::Severity;

use super::lines::Read;
use super::{Main, source};

/// Environment variable with the level, if the directive has none.
const VARIABLE: &str = "LOG_LEVEL";

/// Reads `openai_event_log`.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let level = match conf.words()?.as_slice() {
        [_, _] => None,
        [_, _, level] => Some(named("", level, Severity::parse(level))?),
        _ => return Err(Some("needs a path, and optionally a level".into())),
    };
    if main.has_event_log {
        return Err(Some("is a duplicate, remove one of them".into()));
    }
    let value = source::environment(conf, VARIABLE);
    let level = match level {
        Some(level) => level,
        None if value.is_empty() => Severity::Info,
        None => named("LOG_LEVEL: ", &value, Severity::of_variable(&value))?,
    };
    let least = match level {
        Severity::Error => Level::Error,
        Severity::Warn => Level::Warn,
        Severity::Notice => Level::Notice,
        Severity::Info => Level::Info,
        Severity::Debug => Level::Debug,
    };
    main.has_event_log = true;
    conf.open_line_log(least)
}

fn named(place: &str, value: &str, level: Option<Severity>) -> Result<Severity, String> {
    let names = Severity::ALL.map(Severity::as_str).join(", ");
    level.ok_or_else(|| format!("{place}invalid level \"{value}\", it must be one of {names}"))
}
