//! Names of keys and clients.

/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 64;

use crate::echo::begins_like_a_key;

/// Description of valid names.
pub(crate) const NAMES: &str = "1 to 64 of the characters A-Z a-z 0-9 . _ -";

/// Whether `name` is safe in logs, metrics and Redis keys. Also rejects texts that look like
/// keys.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !begins_like_a_key(name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
