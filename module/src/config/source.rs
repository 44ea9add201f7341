//! Reading of secrets. `nginx -s` reads none, because the environment of the shell may
//! differ from the server's.

use nginx_safe::{Conf, ConfResult};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;

use openai_core::echo;
use openai_core::keys::SecretSource;
use openai_keys::EncryptionKey;
use zeroize::Zeroizing;

/// Value of an environment variable; empty if it is not set, and under `nginx -s`.
pub fn environment(conf: &Conf, name: &str) -> Zeroizing<String> {
    if conf.only_signals() {
        return Zeroizing::default();
    }
    Zeroizing::new(conf.environment(name).unwrap_or_default())
}

/// Value of an environment variable that must be set and not empty; empty under `nginx -s`.
pub fn required(conf: &Conf, name: &str) -> ConfResult<Zeroizing<String>> {
    if conf.only_signals() {
        return Ok(Zeroizing::default());
    }
    let value = conf.environment(name).map(Zeroizing::new);
    let lacks = match &value {
        Some(text) if !text.trim().is_empty() => return Ok(value.unwrap_or_default()),
        Some(_) => "is empty",
        None => "is not set",
    };
    Err(format!(
        "env:{}: this environment variable {lacks}; set it where nginx is started, and in the \
         shell for \"nginx -t\"",
        echo::variable(name)
    ))
}

/// Value of `ENCRYPTION_KEY`. Workers keep it even if no file is encrypted yet.
pub fn secret(conf: &Conf) -> Zeroizing<String> {
    environment(conf, openai_keys::VARIABLE)
}

/// Text of a file, decrypted if necessary; empty if `optional` and there is no file, and
/// under `nginx -s`.
pub fn file(conf: &Conf, path: &str, optional: bool) -> ConfResult<Zeroizing<String>> {
    if conf.only_signals() {
        return Ok(Zeroizing::default());
    }
    let full = conf.full_path(path)?;
    read(&full, optional, &secret(conf)).map_err(|e| format!("file:{path}: {e}"))
}

/// Text of a source. It may be empty or missing if `optional`.
pub fn text(conf: &Conf, source: &SecretSource, optional: bool) -> ConfResult<Zeroizing<String>> {
    match source {
        SecretSource::Env(name) if optional => Ok(environment(conf, name)),
        SecretSource::Env(name) => required(conf, name),
        SecretSource::File(path) => file(conf, path, optional),
        SecretSource::Literal(secret) => Ok(Zeroizing::new(secret.expose().to_owned())),
    }
}

/// Like [`file`], with the full path and the value of `ENCRYPTION_KEY`.
pub fn read(path: &str, optional: bool, key: &str) -> ConfResult<Zeroizing<String>> {
    let bytes = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        openai_keys::read(file, usize::try_from(length).unwrap_or(usize::MAX))
    });
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(e) if optional && e.kind() == ErrorKind::NotFound => return Ok(Zeroizing::default()),
        Err(e) => return Err(read_error(&e)),
    };
    let key = EncryptionKey::parse(key);
    openai_keys::open(bytes, key.as_ref().map_err(|e| *e)).map_err(|e| e.to_string())
}

/// Error message for a file that cannot be read, with a remedy if one is known.
pub fn read_error(e: &io::Error) -> String {
    let remedy = match e.kind() {
        ErrorKind::NotFound => "create it, or correct the path",
        ErrorKind::PermissionDenied => "give nginx's user the permission to read it",
        ErrorKind::IsADirectory => "name a file",
        _ => return e.to_string(),
    };
    format!("{e}; {remedy}")
}

/// Identifies the state of a file: which file it is, and when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    len: u64,
    content: (i64, i64),
    // Also changes with owner and mode, which decide whether workers can read the file.
    inode: (i64, i64),
}

impl Stamp {
    /// Stamp of the file at this path now; `None` if there is none.
    pub fn of(path: &str) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self {
            file: (about.dev(), about.ino()),
            len: about.len(),
            content: (about.mtime(), about.mtime_nsec()),
            inode: (about.ctime(), about.ctime_nsec()),
        })
    }
}
