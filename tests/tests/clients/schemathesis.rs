//! Schemathesis from PyPI makes up requests by the OpenAPI document, right ones and wrong ones, and
//! looks for answers that the document does not allow. `SCHEMATHESIS_EXAMPLES` says how many.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use e2e::workspace;

use crate::locks::{ADMIN, Bed, STORES};

const VERSION: &str = "4.32.5";

/// Made once, and kept for later runs.
static SCHEMATHESIS: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = workspace().join("target/venv-schemathesis");
    let done = home.join("installed");
    if fs::read_to_string(&done).ok().as_deref() != Some(VERSION) {
        let _ = fs::remove_dir_all(&home);
        run(Command::new("python3").args(["-m", "venv"]).arg(&home));
        let package = format!("schemathesis=={VERSION}");
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ];
        run(Command::new(home.join("bin/python")).args(pip));
        fs::write(done, VERSION).expect("the environment is writable");
    }
    home.join("bin/schemathesis")
});

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{said}{wrong}");
    said
}

#[test]
fn the_service_does_as_it_says() {
    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "20".to_owned());
    for store in STORES {
        let bed = Bed::with(store, 200, "", "openai_lock_ttl 1s 60s;", |plan| plan);
        let document = bed.get("/openapi.json").send().expect_status(200);
        let file = bed.gateway.dir().join("openapi.json");
        fs::write(&file, document.body).expect("the directory is writable");
        // nginx itself refuses TRACE, before it looks at the path.
        let config = bed.gateway.dir().join("schemathesis.toml");
        let methods = "[phases.coverage]\nunexpected-methods = [\"DELETE\", \"GET\", \"PATCH\", \"POST\", \"PUT\"]\n";
        fs::write(config, methods).expect("the directory is writable");
        let said = run(Command::new(&*SCHEMATHESIS)
            .current_dir(bed.gateway.dir())
            .arg("run")
            .arg(&file)
            .args(["--url", &bed.gateway.url("")])
            .args(["--header", &format!("Authorization: Bearer {ADMIN}")])
            .args(["--checks", "all", "--workers", "2", "--seed", "1"])
            .args(["--max-examples", &examples])
            .args(["--generation-database", "none", "--no-color"]));
        println!("{store:?}: {said}");
        for lock in bed.active() {
            bed.force_release(&lock).expect_status(200);
        }
        bed.gateway.wait_held(0, 0);
    }
}
