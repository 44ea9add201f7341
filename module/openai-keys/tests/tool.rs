//! The command-line tool.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const KEYS: &str = "# ours\nsk-test-1 id=first\nsk-test-2 slots=4 # theirs\n";

struct Bed {
    dir: TempDir,
    key: String,
}

impl Bed {
    fn new() -> Self {
        let (key, _) = openai_keys::generate();
        let bed = Self {
            dir: tempfile::tempdir().expect("a directory"),
            key: key.to_string(),
        };
        bed.file("keys", KEYS);
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).expect("a file");
        self.path(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        self.run_with(Some(&self.key), words, "")
    }

    fn run_with(&self, key: Option<&str>, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openai-keys"));
        command.env_remove("ENCRYPTION_KEY");
        command.envs(key.map(|key| ("ENCRYPTION_KEY", key)));
        command.args(words).current_dir(self.dir.path());
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tool = pipes.stderr(Stdio::piped()).spawn().expect("it runs");
        // The tool may have failed before it read its input.
        let _ = tool
            .stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes());
        tool.wait_with_output().expect("it ends")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_refused(output: &Output, says: &str) {
    assert_eq!(output.status.code(), Some(1));
    let said = said(output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(says), "{said}");
    assert!(!said.contains("sk-test"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_file_is_encrypted_checked_and_decrypted() {
    let bed = Bed::new();
    told(&bed.run(&["encrypt", "keys", "-o", "keys.age"]));
    assert_eq!(mode(&bed.path("keys.age")), 0o600);
    let sealed = fs::read_to_string(bed.path("keys.age")).expect("text");
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    for file in ["keys", "keys.age"] {
        let checked = told(&bed.run(&["check", file, "id=x"]));
        assert!(checked.starts_with("keys: 2, "), "{checked}");
        assert!(checked.contains("\nfirst\tsha256 "), "{checked}");
        assert!(checked.contains("\tslots=4 weight=1\n"), "{checked}");
        assert!(checked.contains("\nx-2\t"), "{checked}");
        assert!(!checked.contains("sk-test"), "{checked}");
    }
    assert_eq!(told(&bed.run(&["decrypt", "keys.age"])), KEYS);
    told(&bed.run(&["decrypt", "keys.age", "-o", "plain"]));
    assert_eq!(mode(&bed.path("plain")), 0o600);
    assert_eq!(fs::read_to_string(bed.path("plain")).expect("text"), KEYS);
}

#[test]
fn standard_input_and_output_will_do() {
    let bed = Bed::new();
    let sealed = told(&bed.run_with(Some(&bed.key), &["encrypt", "-"], KEYS));
    let plain = bed.run_with(Some(&bed.key), &["decrypt", "-"], &sealed);
    assert_eq!(told(&plain), KEYS);
}

#[test]
fn nothing_is_overwritten() {
    let bed = Bed::new();
    let there = bed.file("there", "precious");
    for command in ["encrypt", "decrypt"] {
        told(&bed.run(&["encrypt", "keys", "-o", command]));
        let file = if command == "encrypt" {
            "keys"
        } else {
            command
        };
        assert_refused(&bed.run(&[command, file, "-o", "there"]), "there: ");
    }
    assert_refused(&bed.run(&["generate", "-o", "there"]), "there: ");
    assert_eq!(fs::read_to_string(there).expect("text"), "precious");
}

#[test]
fn a_generated_identity_serves_with_and_without_its_public_key() {
    let bed = Bed::new();
    let generated = bed.run_with(None, &["generate"], "");
    let public = said(&generated);
    let public = public.trim().strip_prefix("public key: ").expect("it");
    let secret = told(&generated);
    assert!(secret.starts_with("AGE-SECRET-KEY-1"));
    told(&bed.run_with(None, &["encrypt", "keys", "-r", public, "-o", "sealed"], ""));
    let plain = bed.run_with(Some(&secret), &["decrypt", "sealed"], "");
    assert_eq!(told(&plain), KEYS);
}

#[test]
fn mistakes_are_told_in_one_line() {
    let bed = Bed::new();
    told(&bed.run(&["encrypt", "keys", "-o", "sealed"]));
    bed.file("damaged", "age-encryption.org/v1\n-> X");
    let other = openai_keys::generate().0;
    for command in ["check", "decrypt"] {
        let run = |key, file| bed.run_with(key, &[command, file], "");
        assert_refused(
            &run(None, "sealed"),
            "sealed: is encrypted, and ENCRYPTION_KEY is not set",
        );
        assert_refused(
            &run(Some(&other), "sealed"),
            "ENCRYPTION_KEY is not the one",
        );
        assert_refused(
            &run(Some("words"), "sealed"),
            "ENCRYPTION_KEY is not the one",
        );
        assert_refused(
            &run(Some("AGE-SECRET-KEY-1X"), "sealed"),
            "not a valid age identity",
        );
        assert_refused(
            &run(Some(&bed.key), "damaged"),
            "damaged: cannot be decrypted: it is damaged",
        );
        assert_refused(&run(Some(&bed.key), "absent"), "absent: ");
    }
    assert_refused(&bed.run(&["decrypt", "keys"]), "keys: is not encrypted");
    assert_refused(
        &bed.run(&["encrypt", "sealed"]),
        "sealed: is encrypted already",
    );
    assert_refused(&bed.run(&["encrypt", "keys", "-r", "age1x"]), "recipient");
    assert_refused(
        &bed.run_with(None, &["encrypt", "keys"], ""),
        "ENCRYPTION_KEY is not set",
    );
}

#[test]
fn check_names_every_line_that_is_wrong() {
    let bed = Bed::new();
    bed.file("bad", "sk-test-1\nsk-test-2 slots=0\n\nsk-test-3,sk-test-4\nsk-test-1 id=again\nsk-test-5 sk-test-6\nsk-test-7 id=sk-test-8\nsk-test-9 slots=sk-test-0\n");
    let output = bed.run(&["check", "bad"]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    assert!(
        lines[0].contains("file:bad, line 2: invalid slots"),
        "{said}"
    );
    assert!(lines[1].contains("file:bad, line 4 is not a key"), "{said}");
    assert!(lines[2].contains("\"again\" are the same key"), "{said}");
    assert!(
        lines[3].contains("line 6: parameter 2 is not an option"),
        "{said}"
    );
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with("keys: 1, not encrypted\nk-"), "{told}");
    assert!(!format!("{said}{told}").contains("sk-test"));
    bed.file("none", "# nothing\n");
    let none = bed.run(&["check", "none"]);
    assert!(self::said(&none).contains("\"file:none\" contains no key"));
    assert_eq!(none.status.code(), Some(1));
}
