//! The names that people give to keys and clients.

/// The longest name.
const MAX_NAME: usize = 64;

use crate::echo::begins_like_a_key;

/// Whether `name` is safe wherever a name is shown: in logs, metrics, Redis keys. A key in
/// its place is not.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !begins_like_a_key(name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
