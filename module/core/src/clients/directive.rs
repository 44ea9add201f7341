//! A `client` line of the configuration.

use super::{ClientError, PRIORITIES, Role};
use crate::keys::{OptionError, SecretSource, each_option, is_name, once};

/// The options of a client, as shown in messages.
const OPTIONS: &str = "role=, priority=";

/// The parameters of one `client` directive.
#[derive(Debug, Clone)]
pub struct ClientDirective {
    /// Name of the service.
    pub name: String,
    /// Source of the token; never the token itself.
    pub source: SecretSource,
    /// The option `role=`.
    pub role: Role,
    /// The option `priority=`.
    pub priority: i32,
}

impl ClientDirective {
    /// Parses the parameters: name, source, then the options in any order.
    ///
    /// # Errors
    /// When one of them is missing, unknown, repeated or out of range.
    pub fn parse(parameters: &[&str]) -> Result<Self, ClientError> {
        let [name, source, options @ ..] = parameters else {
            return Err(ClientError::Incomplete);
        };
        if !is_name(name) {
            return Err(ClientError::Name((*name).to_owned()));
        }
        let name = (*name).to_owned();
        let source = match SecretSource::parse(source) {
            Ok(source) if !matches!(source, SecretSource::Literal(_)) => source,
            _ => return Err(ClientError::Source(name)),
        };
        let (mut role, mut priority) = (None, None);
        each_option(3, options, OPTIONS, |name, value| {
            match (name, value) {
                ("role", Some(value)) => once(&mut role, "role", parse_role(value)?)?,
                ("priority", Some(value)) => {
                    once(&mut priority, "priority", parse_priority(value)?)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let (role, priority) = (role.unwrap_or_default(), priority.unwrap_or_default());
        Ok(Self {
            name,
            source,
            role,
            priority,
        })
    }

    /// The token in the content of the source; empty when there is none. In a file it is the first
    /// line that is neither empty nor a `#` comment.
    pub(super) fn token<'a>(&self, text: &'a str) -> &'a str {
        if !matches!(self.source, SecretSource::File(_)) {
            return text.trim();
        }
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut lines = text.lines().map(str::trim);
        lines
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .unwrap_or_default()
    }
}

fn parse_role(value: &str) -> Result<Role, OptionError> {
    Role::parse(value).ok_or_else(|| OptionError::invalid("role", value, "service or admin"))
}

fn parse_priority(value: &str) -> Result<i32, OptionError> {
    let priority = value
        .parse()
        .ok()
        .filter(|priority| PRIORITIES.contains(priority));
    priority.ok_or_else(|| OptionError::invalid("priority", value, "a number from -1000 to 1000"))
}
