//! The command-line tool.

mod check;
mod files;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use openai_core::echo::without_secrets;
use openai_keys::{EncryptionKey, EncryptionKeyError, Recipient, VARIABLE};
use zeroize::Zeroizing;

/// Encrypts, decrypts and checks files of API keys for nginx's openai module.
///
/// The environment variable ENCRYPTION_KEY contains an age identity (AGE-SECRET-KEY-1..., see
/// `openai-keys generate`) or a passphrase. Encrypted files have the format of age: `age --decrypt`
/// can decrypt them, and this tool can decrypt files that `age` has encrypted.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate an age identity for ENCRYPTION_KEY; print its public key to standard error
    Generate(Generate),
    /// Encrypt a file
    Encrypt(Encrypt),
    /// Decrypt a file
    Decrypt(Decrypt),
    /// List the keys of a file, by their ids, and the lines that have errors
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
    /// Encrypt with this public key (age1...) instead of ENCRYPTION_KEY
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
    /// Parameters as of the `key` directive: id=ID slots=N weight=N
    options: Vec<String>,
}

#[derive(Args)]
struct Input {
    /// File to read; - is standard input
    file: PathBuf,
}

#[derive(Args)]
struct Output {
    /// File to create, with mode 0600; it must not exist [default: standard output]
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the command. Errors go to standard error, in one line each.
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

/// Prints an error. It may quote a line of a key file, so secrets are masked.
fn fail(message: &str) -> ExitCode {
    let message = without_secrets(message);
    // There is no other way to report an error if standard error is closed.
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
            Some(_) => Err(EncryptionKeyError::Empty),
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

fn environment() -> Result<EncryptionKey, EncryptionKeyError> {
    let value = Zeroizing::new(env::var(VARIABLE).unwrap_or_default());
    EncryptionKey::parse(&value)
}
