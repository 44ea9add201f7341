//! What the mock answers.

mod document;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::DeserializeSeed;

use crate::deny::DenyToken;
use crate::fault::{Fault, Text};
use crate::keys::KeyRule;
use crate::latency::Latency;
use crate::rule::Rule;
use crate::scenario::document::{KeyEntry, Patch};
use crate::settings::{SettingError, Settings, pairs, parsed};
use crate::stats::KeyName;

/// What the mock answers, and how fast; the defaults are those of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What holds for every answer.
    pub(crate) answer: Fault,
    pub(crate) deny_tokens: Vec<DenyToken>,
    pub(crate) seed: u64,
    pub(crate) double_at: Option<NonZeroU32>,
    pub(crate) models: Vec<String>,
    pub(crate) journal: usize,
    /// What holds for every key.
    pub(crate) any_key: KeyRule,
    pub(crate) keys: Vec<(KeyName, KeyRule)>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) slots: Option<usize>,
    /// The settings as they were asked for, to be shown.
    pub(crate) said: Vec<(String, String)>,
}

/// A scenario that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(pub(crate) String);

impl Scenario {
    /// The text of every answer, unless set otherwise.
    pub const DEFAULT_TEXT: &'static str = "powered by openai";
    /// The time between two words of a stream, unless set otherwise.
    pub const DEFAULT_DELAY: Duration = Duration::from_millis(50);
    /// How many requests the journal keeps, unless set otherwise.
    pub const DEFAULT_JOURNAL: usize = 1000;

    /// Name and meaning of the settings that are for all answers together.
    pub const SETTINGS: &'static [(&'static str, &'static str)] = &[
        ("seed", "seed of shares and latencies [default: 0]"),
        (
            "double-at",
            "this many requests in progress double all times, twice as many treble them",
        ),
        ("models", "names of the models, separated by commas"),
        (
            "journal",
            "requests that /__mock/requests keeps [default: 1000]",
        ),
        ("rpm", "requests per minute of each key"),
        (
            "tpm",
            "tokens per minute of each key, of prompts and answers",
        ),
        (
            "quota",
            "total number of tokens of each key; when it is used up, 429 insufficient_quota",
        ),
        ("slow", "factor for all times"),
        (
            "state",
            "state of each key: good, revoked (401) or out_of_quota (429)",
        ),
    ];

    /// "powered by openai", 50 ms between words, no token denied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a scenario file.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        toml::from_str(text).map_err(|error| ScenarioError(error.to_string().trim_end().to_owned()))
    }

    /// Reads a scenario in JSON form, with the names of the file.
    pub fn from_json(text: &[u8]) -> Result<Self, ScenarioError> {
        serde_json::from_slice(text).map_err(|error| ScenarioError(error.to_string()))
    }

    /// Changes what a JSON text names; its faults and keys are added.
    pub fn patch_json(&mut self, text: &[u8]) -> Result<(), ScenarioError> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let patched = Patch(self).deserialize(&mut json);
        patched
            .and_then(|()| json.end())
            .map_err(|error| ScenarioError(error.to_string()))
    }

    /// Sets the text of every answer; each word becomes a chunk.
    #[must_use]
    pub fn text(mut self, text: impl AsRef<str>) -> Self {
        self.answer.text = Some(Text::new(text.as_ref()));
        self
    }

    /// Sets the time between two words of a stream; zero streams as fast as the client reads.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.answer.delay = Some(Latency::Constant(delay));
        self
    }

    /// Adds a token that must never arrive in any request header.
    #[must_use]
    pub fn deny_token(mut self, token: DenyToken) -> Self {
        self.deny_tokens.push(token);
        self
    }

    /// Sets how many requests of a key may be in flight at once; of the scenario that a server
    /// starts with. Whatever exceeds it is recorded one by one: see
    /// [`MockServer::overlaps`](crate::MockServer::overlaps).
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Adds a fault for some requests.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Sets anything by its name in a scenario file.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        Settings::set(self, name, value)
    }

    /// Adds what `token=sk-… rpm=60 …` says of a key.
    pub fn key(&mut self, text: &str) -> Result<(), SettingError> {
        let mut entry = KeyEntry::default();
        for (name, value) in pairs(text)? {
            entry.set(&name, &value)?;
        }
        let name = entry
            .name
            .ok_or_else(|| SettingError::malformed("token", "there"))?;
        self.keys.push((name, entry.rule));
        Ok(())
    }

    /// What holds for a key.
    pub(crate) fn key_rule(&self, name: KeyName) -> KeyRule {
        let own = self.keys.iter().rev().find(|(of, _)| *of == name);
        own.map_or(self.any_key, |(_, own)| own.or(self.any_key))
    }

    /// Whether keys are treated in any way at all.
    pub(crate) fn has_key_rules(&self) -> bool {
        !self.keys.is_empty() || !self.any_key.is_empty()
    }
}

impl Default for Scenario {
    fn default() -> Self {
        let answer = Fault {
            text: Some(Text::new(Self::DEFAULT_TEXT)),
            delay: Some(Latency::Constant(Self::DEFAULT_DELAY)),
            ..Fault::default()
        };
        let models = ["gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini"];
        Self {
            answer,
            deny_tokens: Vec::new(),
            seed: 0,
            double_at: None,
            models: models.map(str::to_owned).to_vec(),
            journal: Self::DEFAULT_JOURNAL,
            any_key: KeyRule::default(),
            keys: Vec::new(),
            rules: Vec::new(),
            slots: None,
            said: Vec::new(),
        }
    }
}

impl Settings for Scenario {
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let wrong = |expected| SettingError::malformed(name, expected);
        match name {
            "seed" => self.seed = parsed(value).ok_or_else(|| wrong("a number"))?,
            "double-at" => {
                let at = parsed(value).ok_or_else(|| wrong("a number of requests, from 1"))?;
                self.double_at = Some(at);
            }
            "models" => self.models = value.split(',').map(|m| m.trim().to_owned()).collect(),
            "journal" => {
                self.journal = parsed(value).ok_or_else(|| wrong("a number of requests"))?;
            }
            "deny-token" => {
                for token in value.split(',') {
                    let token = token.parse().map_err(|_| wrong("a token"))?;
                    self.deny_tokens.push(token);
                }
            }
            _ => match self.any_key.set(name, value) {
                Err(error) if error.is_unknown() => match self.answer.set(name, value) {
                    Err(error) if error.is_unknown() => {
                        let own = Self::SETTINGS.iter().map(|(name, _)| *name);
                        return Err(SettingError::unknown(name, own.chain(Fault::names())));
                    }
                    other => other?,
                },
                other => other?,
            },
        }
        let shown = if name == "deny-token" {
            "(redacted)"
        } else {
            value
        };
        self.said.retain(|(said, _)| said != name);
        self.said.push((name.to_owned(), shown.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyState;

    const EXAMPLE: &str = r#"
        text = "hello world"
        delay = "lognormal(30ms,80ms)"
        seed = 7
        rpm = 500
        models = ["a", "b"]
        strict = true

        [[key]]
        token = "sk-revoked"
        state = "revoked"

        [[fault]]
        status = 500
        times = 2
        share = 0.5
        path = "/v1/chat/completions"
    "#;

    #[test]
    fn a_file_says_everything() {
        let scenario = Scenario::from_toml(EXAMPLE).expect("a scenario");
        assert_eq!(scenario.answer.text, Some(Text::new("hello world")));
        assert_eq!(scenario.answer.strict, Some(true));
        assert_eq!((scenario.seed, scenario.any_key.rpm), (7, Some(500)));
        assert_eq!(scenario.models, ["a", "b"]);
        let revoked = scenario.key_rule(KeyName::of(Some(b"Bearer sk-revoked")));
        assert_eq!(
            (revoked.state, revoked.rpm),
            (Some(KeyState::Revoked), Some(500))
        );
        let rule =
            Rule::parse("status=500 times=2 share=0.5 path=/v1/chat/completions").expect("a rule");
        let [read] = &scenario.rules[..] else {
            panic!("one rule");
        };
        assert_eq!((&read.select, &read.fault), (&rule.select, &rule.fault));
    }

    #[test]
    fn json_says_the_same() {
        let toml: toml::Value = toml::from_str(EXAMPLE).expect("TOML");
        let json = serde_json::to_vec(&toml).expect("JSON");
        let mut read = Scenario::from_json(&json).expect("a scenario");
        let mut expected = Scenario::from_toml(EXAMPLE).expect("a scenario");
        // The order in which things were said differs.
        read.said.sort();
        expected.said.sort();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        let reported = |text: &str| {
            let error = Scenario::from_toml(text).expect_err("a mistake");
            error.to_string()
        };
        insta::assert_snapshot!(reported("seed = 1\ndelay = \"soon\"\n"), @r#"
        TOML parse error at line 2, column 9
          |
        2 | delay = "soon"
          |         ^^^^^^
        delay must be a time such as 200ms, normal(50ms,10ms), lognormal(50ms,120ms) (p50, p95) or 20ms:60ms:200ms (p50:p95:p99)
        "#);
        insta::assert_snapshot!(reported("[[fault]]\nstatus = 200\n"), @"
        TOML parse error at line 2, column 10
          |
        2 | status = 200
          |          ^^^
        status must be an error status, 400 to 599
        ");
        insta::assert_snapshot!(reported("[[key]]\nrpm = 1\n"), @"
        TOML parse error at line 1, column 1
          |
        1 | [[key]]
          | ^
        a key has no token
        ");
        let error = reported("dealy = 1");
        assert!(
            error.contains("dealy") && error.contains("first-token"),
            "{error}"
        );
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let mut scenario = Scenario::new();
        let patch = br#"{"delay":"10ms","fault":[{"status":500}]}"#;
        scenario.patch_json(patch).expect("a patch");
        assert_eq!(
            scenario.answer.delay,
            Some(Latency::Constant(Duration::from_millis(10)))
        );
        assert_eq!(
            scenario.answer.text,
            Some(Text::new(Scenario::DEFAULT_TEXT))
        );
        assert_eq!(scenario.rules.len(), 1);
        assert!(scenario.patch_json(b"{\"delay\":1} x").is_err());
    }
}
