//! The names that people give to keys and clients.

/// The longest name.
const MAX_NAME: usize = 64;

/// Whether `name` is safe wherever a name is shown: in logs, metrics, Redis keys.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
