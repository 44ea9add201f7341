//! What `nginx -t` says of a configuration.

use std::path::Path;

use crate::asan;
use crate::flavour::Flavour;
use crate::nginx::command;
use crate::valgrind;

/// What `nginx -t` says of a configuration.
#[derive(Debug)]
pub struct ConfigTest {
    /// Whether it is sound.
    pub ok: bool,
    /// What nginx wrote.
    pub output: String,
}

impl ConfigTest {
    /// Tests `dir/nginx.conf`.
    pub(crate) fn run(flavour: &Flavour, dir: &Path, environment: &[(String, String)]) -> Self {
        let mut command = command(flavour, dir, environment);
        // Of two options -e the last one counts: what nginx would log goes to stderr.
        let output = command
            .args(["-e", "stderr", "-t"])
            .output()
            .expect("nginx can be run");
        let mut findings = valgrind::findings(dir, false);
        findings.extend(asan::findings(dir));
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        Self {
            ok: output.status.success(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The lines that say why a configuration is refused.
    pub fn emergencies(&self) -> Vec<&str> {
        self.output
            .lines()
            .filter(|line| line.contains("[emerg]"))
            .collect()
    }
}
