//! Programs of others, installed once and kept for later runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::flavour::workspace;

const PYTHON_VERSION: &str = "3.52.0";
const SCHEMATHESIS_VERSION: &str = "4.32.5";
const NODE_VERSION: &str = "7.55.0";
/// The package wants a newer Node.js than Debian has; npm has that too.
const NODE: &str = "node@22";

/// A Python with openai-python.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| venv("openai", PYTHON_VERSION));

/// A Python with Schemathesis.
static SCHEMATHESIS: LazyLock<PathBuf> =
    LazyLock::new(|| venv("schemathesis", SCHEMATHESIS_VERSION));

/// A folder with openai-node, and a Node.js.
static NODE_HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    installed("openai-node", NODE_VERSION, |home| {
        let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        run(Command::new("npm")
            .args(npm)
            .arg(home)
            .args([&format!("openai@{NODE_VERSION}"), NODE]));
    })
});

/// The programs of a Python environment with this package.
fn venv(package: &str, version: &str) -> PathBuf {
    let home = installed(&format!("venv-{package}"), version, |home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home));
        let quietly = ["--quiet", "--disable-pip-version-check"];
        run(Command::new(home.join("bin/python"))
            .args(["-m", "pip", "install"])
            .args(quietly)
            .arg(format!("{package}=={version}")));
    });
    home.join("bin")
}

fn installed(name: &str, version: &str, install: impl FnOnce(&PathBuf)) -> PathBuf {
    let home = workspace().join("target").join(name);
    let done = home.join("installed");
    if fs::read_to_string(&done).ok().as_deref() != Some(version) {
        let _ = fs::remove_dir_all(&home);
        install(&home);
        fs::write(done, version).expect("the folder is writable");
    }
    home
}

fn run(command: &mut Command) -> String {
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (said, wrong) = (&output.stdout, &output.stderr);
    let said = [said, wrong].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{command:?}:\n{}", said.concat());
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// Runs a Python script, and gives what it prints.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) -> String {
    python_with(&[], script, arguments)
}

/// The same with these environment variables.
#[track_caller]
pub fn python_with(environment: &[(&str, &str)], script: &str, arguments: &[&str]) -> String {
    run(Command::new(PYTHON.join("python"))
        .envs(environment.iter().copied())
        .args(["-c", script])
        .args(arguments))
}

/// Runs a script as an ES module of Node.js, and gives what it prints.
#[track_caller]
pub fn node(script: &str, arguments: &[&str]) -> String {
    // Packages are looked for from the working folder.
    let node = NODE_HOME.join("node_modules/.bin/node");
    let module = ["--input-type=module", "--eval", script, "--"];
    run(Command::new(node)
        .current_dir(&*NODE_HOME)
        .args(module)
        .args(arguments))
}

/// Runs Schemathesis in this folder, and gives what it prints.
#[track_caller]
pub fn schemathesis(folder: &Path, arguments: &[&str]) -> String {
    run(Command::new(SCHEMATHESIS.join("schemathesis"))
        .current_dir(folder)
        .args(arguments))
}
