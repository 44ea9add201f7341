//! What `nginx -t` and `nginx -s` say of a configuration.

use std::path::Path;

use crate::asan;
use crate::flavour::Flavour;
use crate::nginx::command;
use crate::valgrind;

/// What `nginx -t` or `nginx -s` says of a configuration.
#[derive(Debug)]
pub struct ConfigTest {
    /// Whether it is sound.
    pub ok: bool,
    /// What nginx wrote.
    pub output: String,
}

impl ConfigTest {
    /// Reads `dir/nginx.conf`, with `-t` or `-s SIGNAL`.
    pub(crate) fn run(
        flavour: &Flavour,
        dir: &Path,
        environment: &[(String, String)],
        options: &[&str],
    ) -> Self {
        let mut command = command(flavour, dir, environment);
        // Of two options -e the last one counts: what nginx would log goes to stderr.
        let output = command
            .args(["-e", "stderr"])
            .args(options)
            .output()
            .expect("nginx can be run");
        // The report of a server that gets the signal, and still runs, has no summary.
        let mut findings = valgrind::findings(dir, options.contains(&"-s"));
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
