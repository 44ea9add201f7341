//! OpenAI's own clients, installed once and kept for later runs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::flavour::workspace;

const PYTHON_VERSION: &str = "3.52.0";
const NODE_VERSION: &str = "7.55.0";
/// The package wants a newer Node.js than Debian has; npm has that too.
const NODE: &str = "node@22";

/// A Python with openai-python.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = installed("venv-openai", PYTHON_VERSION, |home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home));
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        run(Command::new(home.join("bin/python"))
            .args(pip)
            .arg(format!("openai=={PYTHON_VERSION}")));
    });
    home.join("bin/python")
});

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
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// Runs a Python script, and gives what it prints.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) -> String {
    run(Command::new(&*PYTHON).args(["-c", script]).args(arguments))
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
