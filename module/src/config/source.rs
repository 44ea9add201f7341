//! Where secrets are read from.

use nginx_safe::{Conf, ConfResult};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;

use openai_keys::EncryptionKey;
use zeroize::Zeroizing;

/// The largest file of keys or tokens that is read.
const MOST: u64 = 16 << 20;

/// The value of an environment variable; empty when it is not set.
pub fn environment(conf: &Conf, name: &str) -> Zeroizing<String> {
    Zeroizing::new(conf.environment(name).unwrap_or_default())
}

/// The value of `ENCRYPTION_KEY`: kept for workers too, also when no file is
/// encrypted yet.
pub fn secret(conf: &Conf) -> Zeroizing<String> {
    environment(conf, openai_keys::VARIABLE)
}

/// The text of a file, which may be encrypted; empty when `optional` and it is not
/// there.
pub fn file(conf: &Conf, path: &str, optional: bool) -> ConfResult<Zeroizing<String>> {
    let full = conf.full_path(path)?;
    read(&full, optional, &secret(conf)).map_err(|e| format!("file:{path}: {e}"))
}

/// As [`file`], with the full path and the value of `ENCRYPTION_KEY`.
pub fn read(path: &str, optional: bool, key: &str) -> ConfResult<Zeroizing<String>> {
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(e) if optional && e.kind() == ErrorKind::NotFound => return Ok(Zeroizing::default()),
        Err(e) => return Err(e.to_string()),
    };
    let key = EncryptionKey::parse(key);
    openai_keys::open(bytes, key.as_ref().map_err(|e| *e)).map_err(|e| e.to_string())
}

/// What tells one state of a file from another: which file it is, and when it was
/// last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    len: u64,
    content: (i64, i64),
    // With the owner and the mode: whether it can be read may change, too.
    inode: (i64, i64),
}

impl Stamp {
    /// That of the file that the path leads to now, if any.
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

fn bytes(path: &str) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    // Room for all of it: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len.min(MOST) as usize + 1));
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(std::io::Error::other("larger than 16 MiB"));
    }
    Ok(bytes)
}
