//! The tool.

mod check;
mod files;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use openai_keys::{EncryptionKey, KeyError, Recipient, VARIABLE};
use zeroize::Zeroizing;

/// Encrypts, decrypts and checks files of API keys for nginx's openai module.
///
/// The key is the environment variable ENCRYPTION_KEY: an age identity (AGE-SECRET-KEY-1...,
/// see `openai-keys generate`), or a passphrase. Encrypted files are those of age:
/// `age --decrypt` reads them, and what `age` encrypted is read here.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an age identity for ENCRYPTION_KEY; its public key goes to standard error
    Generate(Generate),
    /// Encrypt a file
    Encrypt(Encrypt),
    /// Decrypt a file
    Decrypt(Decrypt),
    /// Say what keys a file holds, by their ids, or which lines are wrong
    Check(Check),
}

#[derive(Args)]
struct Generate {
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Encrypt {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    output: Output,
    /// Encrypt for the owner of this public key, age1..., instead of with ENCRYPTION_KEY
    #[arg(short, long)]
    recipient: Option<String>,
}

#[derive(Args)]
struct Decrypt {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    input: Input,
    /// As in the `key` directive: id=ID slots=N weight=N
    options: Vec<String>,
}

#[derive(Args)]
struct Input {
    /// The file; - is standard input
    file: PathBuf,
}

#[derive(Args)]
struct Output {
    /// Write to this file, which must not exist, with mode 0600
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Does what it is told; what is wrong goes to standard error in one line.
pub fn run(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Generate(generate) => generate.run(),
        Command::Encrypt(encrypt) => encrypt.run(),
        Command::Decrypt(decrypt) => decrypt.run(),
        Command::Check(check) => return check.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "openai-keys: {message}");
    ExitCode::FAILURE
}

impl Generate {
    fn run(&self) -> Result<(), String> {
        let (secret, public) = openai_keys::generate();
        let line = Zeroizing::new(format!("{}\n", secret.as_str()));
        files::write(self.output.output.as_deref(), line.as_bytes())?;
        let _ = writeln!(io::stderr(), "public key: {public}");
        Ok(())
    }
}

impl Encrypt {
    fn run(&self) -> Result<(), String> {
        let plain = files::read(&self.input.file)?;
        let name = self.input.name();
        if openai_keys::is_encrypted(&plain) {
            return Err(format!("{name}: is encrypted already"));
        }
        let key = match &self.recipient {
            Some(_) => Err(KeyError::Empty),
            None => environment(),
        };
        let recipient = match (&self.recipient, &key) {
            (Some(public), _) => Recipient::Public(public),
            (None, Ok(key)) => Recipient::Key(key),
            (None, Err(e)) => return Err(e.to_string()),
        };
        let encrypted = openai_keys::encrypt(&plain, &recipient);
        let encrypted = encrypted.map_err(|e| format!("{name}: {e}"))?;
        files::write(self.output.output.as_deref(), &encrypted)
    }
}

impl Decrypt {
    fn run(&self) -> Result<(), String> {
        let bytes = files::read(&self.input.file)?;
        let name = self.input.name();
        if !openai_keys::is_encrypted(&bytes) {
            return Err(format!("{name}: is not encrypted"));
        }
        let text = open(bytes).map_err(|e| format!("{name}: {e}"))?;
        files::write(self.output.output.as_deref(), text.as_bytes())
    }
}

impl Input {
    fn name(&self) -> String {
        match self.file.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => self.file.display().to_string(),
        }
    }
}

fn open(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, openai_keys::OpenError> {
    let key = environment();
    openai_keys::open(bytes, key.as_ref().map_err(|e| *e))
}

fn environment() -> Result<EncryptionKey, KeyError> {
    let value = Zeroizing::new(env::var(VARIABLE).unwrap_or_default());
    EncryptionKey::parse(&value)
}
