//! Log events: severity and format.

use serde_json::{Map, Value};

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something may need attention.
    Warn,
    /// A normal but notable change.
    Notice,
    /// A routine event.
    Info,
    /// Details for debugging.
    Debug,
}

impl Severity {
    /// All severities.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// The name in log lines and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Parses a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// Parses the value of the environment variable `LOG_LEVEL`, in any case. Other programs read
    /// this variable, too, so Python's names `warning` and `critical` are accepted.
    #[must_use]
    pub fn of_variable(value: &str) -> Option<Self> {
        match value.trim().to_ascii_lowercase().as_str() {
            "warning" => Some(Self::Warn),
            "critical" => Some(Self::Error),
            name => Self::parse(name),
        }
    }
}

/// Formats an event as a line of the log: a JSON object with `fields`, `timestamp`, `level` and
/// `event`. Ignores `fields` if it is not an object.
#[must_use]
pub fn line(timestamp: String, level: Severity, event: &str, fields: Value) -> String {
    let mut line = match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    line.insert("timestamp".into(), timestamp.into());
    line.insert("level".into(), level.as_str().into());
    line.insert("event".into(), event.into());
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_level_has_one_spelling_but_in_the_variable() {
        for level in Severity::ALL {
            assert_eq!(Severity::parse(level.as_str()), Some(level));
            assert_eq!(Severity::of_variable(level.as_str()), Some(level));
        }
        for other in ["", "warning", "err", "WARN", "critical", "alert", "warn "] {
            assert_eq!(Severity::parse(other), None, "{other}");
        }
        for (value, level) in [
            ("INFO", Some(Severity::Info)),
            (" Warning\n", Some(Severity::Warn)),
            ("CRITICAL", Some(Severity::Error)),
            ("verbose", None),
            ("", None),
        ] {
            assert_eq!(Severity::of_variable(value), level, "{value:?}");
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let fields = json!({ "reason": "a\nb", "lock_id": null });
        let line = line(
            "2024-07-28T10:00:00.000Z".into(),
            Severity::Warn,
            "x",
            fields,
        );
        assert!(!line.contains('\n'));
        let expected = json!({ "timestamp": "2024-07-28T10:00:00.000Z", "level": "warn",
                               "event": "x", "reason": "a\nb", "lock_id": null });
        assert_eq!(serde_json::from_str::<Value>(&line).ok(), Some(expected));
    }
}
