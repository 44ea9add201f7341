//! `openai-keys check`: shows which keys nginx would find in a file.

use std::io::{self, Write};
use std::process::ExitCode;

use openai_core::keys::{KeyDirective, KeyList, KeySpec};
use openai_keys::is_encrypted;

use super::{Check, fail, files, open};

impl Check {
    pub fn run(&self) -> ExitCode {
        match self.look() {
            Ok((encrypted, list, mistakes)) => {
                for mistake in &mistakes {
                    fail(mistake);
                }
                let written = list_keys(encrypted, list.keys());
                if mistakes.is_empty() && written.is_ok() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(message) => fail(&message),
        }
    }

    /// Returns whether the file is encrypted, its keys, and the errors in other lines.
    fn look(&self) -> Result<(bool, KeyList, Vec<String>), String> {
        let name = self.input.name();
        let source = format!("file:{name}");
        let parameters = std::iter::once(&source).chain(&self.options);
        let parameters: Vec<&str> = parameters.map(String::as_str).collect();
        let directive = KeyDirective::parse(&parameters).map_err(|e| e.to_string())?;
        let bytes = files::read(&self.input.file)?;
        let encrypted = is_encrypted(&bytes);
        let text = open(bytes).map_err(|e| format!("{name}: {e}"))?;
        let mut list = KeyList::default();
        let mistakes = list.add_sound(&directive, &text);
        let mistakes = mistakes.iter().map(ToString::to_string);
        Ok((encrypted, list, mistakes.collect()))
    }
}

fn list_keys(encrypted: bool, keys: &[KeySpec]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let how = if encrypted {
        "encrypted"
    } else {
        "not encrypted"
    };
    writeln!(output, "keys: {}, {how}", keys.len())?;
    for key in keys {
        let KeySpec {
            id,
            fingerprint,
            slots,
            weight,
            ..
        } = key;
        writeln!(
            output,
            "{id}\tsha256 {fingerprint:.8}\tslots={slots} weight={weight}"
        )?;
    }
    output.flush()
}
