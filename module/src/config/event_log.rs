//! `openai_event_log`: a log of our own events.

use std::ffi::CStr;

use nginx_safe::{Args, Conf, Directive, Level, LineLog, Scope};
use openai_core::events::Severity;

use super::Main;

/// Holds the level, unless the directive does.
const VARIABLE: &str = "LOG_LEVEL";

pub struct EventLog;

impl Directive for EventLog {
    type Target = Main;
    const NAME: &'static CStr = c"openai_event_log";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::Many;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let level = match conf.words()?.as_slice() {
            [_, _] => None,
            [_, _, level] => Some(named("", level, Severity::parse(level))?),
            _ => return Err(Some("needs a path, and may have a level".into())),
        };
        if main.event_log.is_some() {
            return Err(Some("is a duplicate".into()));
        }
        let level = match (level, conf.environment(VARIABLE)) {
            (Some(level), _) => level,
            (None, Some(value)) if !value.is_empty() => {
                named("LOG_LEVEL: ", &value, Severity::of_variable(&value))?
            }
            (None, _) => Severity::Info,
        };
        let least = match level {
            Severity::Error => Level::Error,
            Severity::Warn => Level::Warn,
            Severity::Notice => Level::Notice,
            Severity::Info => Level::Info,
            Severity::Debug => Level::Debug,
        };
        main.event_log = Some(LineLog::open(conf, least)?);
        Ok(())
    }
}

fn named(place: &str, value: &str, level: Option<Severity>) -> Result<Severity, String> {
    let names = Severity::ALL.map(Severity::as_str).join(", ");
    level.ok_or_else(|| format!("{place}invalid level \"{value}\", it must be one of {names}"))
}
