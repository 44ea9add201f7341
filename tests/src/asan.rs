//! nginx and the module with AddressSanitizer, when `E2E_ASAN` is set.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use crate::flavour::Flavour;

/// Where the reports of one nginx go, in its directory.
const DIR: &str = "asan";

/// Workers end without giving back what they have for life: leaks are found under valgrind.
const OPTIONS: &str = "detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=1";

static WANTED: LazyLock<bool> = LazyLock::new(|| {
    env::var_os("E2E_ASAN").is_some_and(|value| !value.is_empty() && value != "0")
});

/// Has each process of the nginx in `dir` write what the sanitizer finds to a file of its own.
pub(crate) fn prepare(command: &mut Command, dir: &Path) {
    if !*WANTED {
        return;
    }
    static INSTRUMENTED: LazyLock<()> = LazyLock::new(|| {
        let Flavour { nginx, module } = Flavour::under_test();
        for file in [nginx, module] {
            let bytes = fs::read(&file).expect("the program under test");
            let found = bytes.windows(13).any(|bytes| bytes == b"__asan_report");
            assert!(found, "{} is built without the sanitizer", file.display());
        }
    });
    LazyLock::force(&INSTRUMENTED);
    let reports = dir.join(DIR);
    fs::create_dir_all(&reports).expect("the directory is writable");
    // Workers are unprivileged.
    fs::set_permissions(&reports, fs::Permissions::from_mode(0o777))
        .expect("its permissions can be set");
    let options = format!("{OPTIONS}:log_path={}/report", reports.display());
    command.env("ASAN_OPTIONS", options);
}

/// What the sanitizer has reported in all processes of the nginx in `dir`, a text each.
pub(crate) fn findings(dir: &Path) -> Vec<String> {
    if !*WANTED {
        return Vec::new();
    }
    let files = fs::read_dir(dir.join(DIR)).expect("the directory of the reports");
    files
        .map(|file| file.expect("a file").path())
        .map(|path| fs::read_to_string(path).expect("the sanitizer's report"))
        .collect()
}
