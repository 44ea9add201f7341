//! nginx under valgrind's memcheck, when `E2E_VALGRIND` is set.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::flavour::workspace;

/// The program that runs nginx: nginx itself, or valgrind.
pub(crate) fn command(nginx: &Path, dir: &Path) -> Command {
    if !is_wanted() {
        return Command::new(nginx);
    }
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=memcheck", "--trace-children=yes", "--vgdb=no"])
        .args(["--leak-check=full", "--num-callers=30"])
        .args([
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
        ])
        // The module is unloaded before the leaks are counted.
        .arg("--keep-debuginfo=yes")
        .arg(format!(
            "--suppressions={}",
            workspace().join("tests/valgrind.supp").display()
        ))
        // Each process, that is each worker, gets a file of its own.
        .arg(format!("--log-file={}/valgrind.%p", dir.display()))
        .arg(nginx);
    command
}

/// What valgrind has found in the processes that have ended, a text each. A process that was
/// killed has no summary, which is a finding unless `killed` says that this is expected.
pub(crate) fn findings(dir: &Path, killed: bool) -> Vec<String> {
    if !is_wanted() {
        return Vec::new();
    }
    let files = fs::read_dir(dir).expect("nginx's directory");
    let reports: Vec<String> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("valgrind.")
        })
        .map(|path| fs::read_to_string(path).expect("valgrind's report"))
        .collect();
    assert!(!reports.is_empty(), "valgrind has reported nothing");
    let is_clean = |report: &String| match report.rsplit_once("ERROR SUMMARY: ") {
        Some((_, summary)) => summary.starts_with("0 errors"),
        None => killed,
    };
    reports
        .into_iter()
        .filter(|report| !is_clean(report))
        .collect()
}

fn is_wanted() -> bool {
    env::var_os("E2E_VALGRIND").is_some_and(|value| !value.is_empty() && value != "0")
}
