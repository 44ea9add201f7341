//! OpenAI's own clients, with nothing but `base_url` and `api_key` set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mock_upstream::{MockServer, Scenario};

use crate::wire::start;

const PYTHON_VERSION: &str = "3.52.0";
const NODE_VERSION: &str = "7.55.0";
/// The package wants a newer Node.js than Debian has; npm has that too.
const NODE: &str = "node@22";

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// A directory with a client installed, made once and kept for later runs.
fn installed(name: &str, version: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let done = home.join("installed");
    if fs::read_to_string(&done).ok().as_deref() != Some(version) {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).expect("a directory");
        install(&home);
        fs::write(done, version).expect("the directory is writable");
    }
    home
}

fn python() -> PathBuf {
    let home = installed("openai-python", PYTHON_VERSION, |home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home));
        let package = format!("openai=={PYTHON_VERSION}");
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        run(Command::new(home.join("bin/python")).args(pip).arg(package));
    });
    home.join("bin/python")
}

fn node() -> PathBuf {
    installed("openai-node", NODE_VERSION, |home| {
        let package = format!("openai@{NODE_VERSION}");
        let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        run(Command::new("npm")
            .args(npm)
            .arg(home)
            .args([&package, NODE]));
    })
}

fn mock() -> MockServer {
    start(Scenario::new().delay(Duration::ZERO))
}

fn without_proxies(command: &mut Command) -> &mut Command {
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command
}

/// The script fails by itself at the first thing that is not as its models say.
#[test]
fn openai_python_understands_every_answer() {
    let mock = mock();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/clients/client.py");
    let mut command = Command::new(python());
    let url = format!("{}/v1", mock.url());
    let said = run(without_proxies(&mut command).arg(script).arg(url));
    assert_eq!(said.trim(), "17 scenes");
}

#[test]
fn openai_node_understands_every_answer() {
    let mock = mock();
    let home = node();
    // Node looks for packages beside the script.
    let script = home.join("client.mjs");
    fs::write(&script, include_str!("clients/client.mjs")).expect("a script");
    let mut command = Command::new(home.join("node_modules/.bin/node"));
    let url = format!("{}/v1", mock.url());
    let said = run(without_proxies(&mut command).arg(script).arg(url));
    assert_eq!(said.trim(), "8 scenes");
}
