//! Where secrets are read from.

use std::fs;
use std::io::ErrorKind;

use zeroize::Zeroizing;

use crate::ffi::{Conf, ConfResult};

/// The largest file of keys or tokens that is read.
const MOST: u64 = 16 << 20;

/// The value of an environment variable; empty when it is not set.
pub fn environment(conf: &Conf, name: &str) -> Zeroizing<String> {
    Zeroizing::new(conf.environment(name).unwrap_or_default())
}

/// The content of a file; empty when `optional` and it is not there.
pub fn file(conf: &Conf, path: &str, optional: bool) -> ConfResult<Zeroizing<String>> {
    let full = conf.full_path(path)?;
    let read = fs::metadata(&full).and_then(|about| {
        if about.len() > MOST {
            return Err(std::io::Error::other("larger than 16 MiB"));
        }
        fs::read_to_string(&full)
    });
    match read {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(e) if optional && e.kind() == ErrorKind::NotFound => Ok(Zeroizing::default()),
        Err(e) => Err(format!("file:{path}: {e}")),
    }
}
