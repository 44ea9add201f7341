//! Reads and writes files that contain secrets.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a whole file; `-` is standard input.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = match path.to_str() {
        Some("-") => openai_keys::read(io::stdin(), usize::MAX),
        _ => fs::File::open(path).and_then(|file| openai_keys::read(file, usize::MAX)),
    };
    bytes.map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a new file with mode 0600, or to standard output if there is no path.
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
        // An incomplete file is useless.
        let _ = fs::remove_file(path);
        says(e)
    })
}
