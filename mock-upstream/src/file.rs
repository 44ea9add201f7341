//! The scenario file, and what the flags say on top of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::deny::DenyToken;
use crate::rule::Rule;
use crate::scenario::{Scenario, ScenarioError};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Where a scenario comes from: a file, if there is one, and settings that go before it.
#[derive(Debug, Clone, Default)]
pub struct ScenarioSource {
    /// A scenario file.
    pub file: Option<PathBuf>,
    /// Names and values that go before those of the file.
    pub settings: Vec<(String, String)>,
    /// Faults in addition to those of the file.
    pub faults: Vec<String>,
    /// Keys in addition to those of the file.
    pub keys: Vec<String>,
    /// Tokens to deny in addition to those of the file.
    pub deny_tokens: Vec<DenyToken>,
}

impl ScenarioSource {
    /// Reads it all.
    pub fn load(&self) -> Result<Scenario, ScenarioError> {
        match &self.file {
            Some(path) => self.parse(path, &read(path)?),
            None => self.overlay(Scenario::new()),
        }
    }

    fn parse(&self, path: &Path, text: &str) -> Result<Scenario, ScenarioError> {
        let name = path.display();
        let scenario = Scenario::from_toml(text);
        let scenario = scenario.map_err(|error| ScenarioError(format!("{name}: {error}")))?;
        self.overlay(scenario)
    }

    fn overlay(&self, mut scenario: Scenario) -> Result<Scenario, ScenarioError> {
        let reported = |error: crate::settings::SettingError| ScenarioError(error.to_string());
        for (name, value) in &self.settings {
            scenario.set(name, value).map_err(reported)?;
        }
        for key in &self.keys {
            scenario.key(key).map_err(reported)?;
        }
        for fault in &self.faults {
            scenario.rules.push(Rule::parse(fault).map_err(reported)?);
        }
        let tokens = self.deny_tokens.iter().cloned();
        Ok(tokens.fold(scenario, Scenario::deny_token))
    }

    /// Reports every change of the file until the sender is gone.
    pub(crate) fn watch(
        &self,
        path: &Path,
        loaded: Scenario,
        stop: &Receiver<()>,
        mut changed: impl FnMut(Result<Scenario, ScenarioError>),
    ) {
        let mut in_force = Ok(loaded);
        // By content: editors replace files, and clocks are coarse.
        let mut seen = None;
        while stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let text = read(path);
            if seen.as_ref() == Some(&text) {
                continue;
            }
            seen = Some(text.clone());
            let scenario = text.and_then(|text| self.parse(path, &text));
            if scenario != in_force {
                changed(scenario.clone());
                in_force = scenario;
            }
        }
    }
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    fs::read_to_string(path)
        .map_err(|error| ScenarioError(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_mistakes_name_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("scenario.toml");
        fs::write(&path, "delay = \"1s\"\nseed = 3\n[[fault]]\nwords = 1\n").expect("a file");
        let mut source = ScenarioSource {
            file: Some(path.clone()),
            settings: vec![("delay".into(), "2s".into())],
            faults: vec!["status=500".into()],
            keys: vec!["token=sk-1 rpm=1".into()],
            deny_tokens: Vec::new(),
        };
        let scenario = source.load().expect("a scenario");
        let expected = Scenario::new().delay(Duration::from_secs(2));
        assert_eq!(scenario.answer.delay, expected.answer.delay);
        assert_eq!((scenario.seed, scenario.rules.len()), (3, 2));
        assert_eq!(scenario.keys.len(), 1);

        source.faults.push("status=1".into());
        let error = source.load().expect_err("a mistake").to_string();
        assert!(error.contains("status must be"), "{error}");
        fs::write(&path, "delay = \"soon\"").expect("a file");
        let error = source.load().expect_err("a mistake").to_string();
        assert!(
            error.contains("scenario.toml") && error.contains("line 1"),
            "{error}"
        );
    }
}
