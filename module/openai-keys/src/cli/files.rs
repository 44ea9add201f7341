//! Files of secrets.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// The largest file of keys that nginx reads.
const MOST: usize = 16 << 20;

/// A whole file, or standard input.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let says = |e: io::Error| format!("{}: {e}", path.display());
    let mut input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(fs::File::open(path).map_err(says)?),
    };
    // A vector that grows leaves copies of what it held behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 1));
    let most = MOST as u64 + 1;
    input
        .by_ref()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(says)?;
    if bytes.len() > MOST {
        return Err(format!("{}: larger than 16 MiB", path.display()));
    }
    Ok(bytes)
}

/// Writes a new file that only its owner can read, or to standard output.
pub fn write(path: Option<&Path>, content: &[u8]) -> Result<(), String> {
    let Some(path) = path else {
        let mut output = io::stdout().lock();
        let written = output.write_all(content).and_then(|()| output.flush());
        return written.map_err(|e| format!("standard output: {e}"));
    };
    let says = |e: io::Error| format!("{}: {e}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(says)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|e| {
        // What is there of it is of no use.
        let _ = fs::remove_file(path);
        says(e)
    })
}
