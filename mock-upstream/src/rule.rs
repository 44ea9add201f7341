//! Which requests a fault is for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::fault::Fault;
use crate::settings::{Set, SettingError, Settings, pairs, parsed};
use crate::stats::KeyName;

/// A fault, and the requests that it is for: all, unless narrowed.
///
/// As text `status=500 times=2 path=/v1/chat/completions`; in a scenario file a `[[fault]]` table
/// of the same names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rule {
    pub(crate) select: Select,
    pub(crate) fault: Fault,
    /// As it was asked for, to be shown.
    said: Vec<(String, String)>,
}

/// Of all requests those on this path, of this key and for this model; of those, in the order of
/// their arrival, some.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Select {
    path: Option<String>,
    key: Option<KeyName>,
    model: Option<String>,
    skip: u64,
    every: Option<u64>,
    share: Option<f64>,
    times: Option<u64>,
}

/// What a request is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) path: &'a str,
    pub(crate) key: KeyName,
    pub(crate) model: Option<&'a str>,
}

impl Select {
    /// Name and meaning of every setting.
    pub(crate) const SETTINGS: &[(&str, &str)] = &[
        ("path", "only requests whose path has this beginning"),
        (
            "key",
            "only requests with this API key, or with the key of these 16 digits in the counts",
        ),
        ("model", "only requests for this model"),
        ("skip", "number of requests before the first fault"),
        ("every", "only every n-th request"),
        (
            "share",
            "share of requests, such as 0.1 or 10%, selected by the scenario's seed",
        ),
        (
            "times",
            "maximum number of faults: with times=2, two requests fail, further ones succeed",
        ),
    ];

    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let wrong = |expected| SettingError::malformed(name, expected);
        match name {
            "path" => self.path = Some(value.trim().to_owned()),
            "key" => self.key = Some(KeyName::read(value)),
            "model" => self.model = Some(value.trim().to_owned()),
            "skip" => self.skip = parsed(value).ok_or_else(|| wrong("a number of requests"))?,
            "times" => {
                self.times = Some(parsed(value).ok_or_else(|| wrong("a number of requests"))?);
            }
            "every" => {
                let every = parsed(value).filter(|every| *every > 0);
                self.every = Some(every.ok_or_else(|| wrong("a number from 1"))?);
            }
            "share" => {
                let share = share(value);
                self.share = Some(share.ok_or_else(|| wrong("0 to 1, or 0% to 100%"))?);
            }
            _ => {
                let names = Self::SETTINGS.iter().map(|(name, _)| *name);
                return Err(SettingError::unknown(name, names));
            }
        }
        Ok(())
    }

    fn fits(&self, subject: Subject<'_>) -> bool {
        let path = self.path.as_deref();
        path.is_none_or(|path| subject.path.starts_with(path))
            && self.key.is_none_or(|key| key == subject.key)
            && (self.model.as_deref()).is_none_or(|model| subject.model == Some(model))
    }
}

fn share(value: &str) -> Option<f64> {
    let share = match value.trim().strip_suffix('%') {
        Some(percent) => parsed::<f64>(percent)? / 100.0,
        None => parsed(value)?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// How often a rule was looked at, and how often it was obeyed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seen: AtomicU64,
    hits: AtomicU64,
}

impl Tally {
    /// Whether the next request is one of those selected.
    pub(crate) fn next_is_hit(&self, select: &Select, seed: u64) -> bool {
        let index = self.seen.fetch_add(1, Ordering::Relaxed);
        let Some(index) = index.checked_sub(select.skip) else {
            return false;
        };
        if select
            .every
            .is_some_and(|every| !(index + 1).is_multiple_of(every))
        {
            return false;
        }
        if select.share.is_some_and(|share| draw(seed, index) >= share) {
            return false;
        }
        let more = |hits| (select.times.is_none_or(|times| hits < times)).then_some(hits + 1);
        let hit = self
            .hits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        hit.is_ok()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.seen.store(0, Ordering::Relaxed);
        self.hits.store(0, Ordering::Relaxed);
    }
}

/// A number from 0 to 1 that depends on nothing but the seed and the index (SplitMix64).
fn draw(seed: u64, index: u64) -> f64 {
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

/// A rule in force, with its counts.
#[derive(Debug)]
pub(crate) struct LiveRule {
    pub(crate) rule: Rule,
    pub(crate) tally: Tally,
    /// Different for every rule, so that shares are drawn independently.
    pub(crate) salt: u64,
}

impl LiveRule {
    pub(crate) fn new(rule: Rule, salt: u64) -> Self {
        let tally = Tally::default();
        Self { rule, tally, salt }
    }

    /// The fault, if it is for this request. Counts the request.
    pub(crate) fn obey(&self, subject: Subject<'_>, seed: u64) -> Option<&Fault> {
        let select = &self.rule.select;
        let hit = select.fits(subject) && self.tally.next_is_hit(select, seed ^ self.salt);
        hit.then_some(&self.rule.fault)
    }
}

impl Rule {
    /// Name and meaning of the settings that say which requests it is for.
    pub const SETTINGS: &[(&str, &str)] = Select::SETTINGS;

    /// Reads `NAME=VALUE NAME=VALUE …`.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let mut rule = Self::default();
        for (name, value) in pairs(text)? {
            rule.set(&name, &value)?;
        }
        Ok(rule)
    }

    /// Whether it is for some of the requests by their order.
    pub(crate) fn counts(&self) -> bool {
        let Select {
            skip,
            every,
            share,
            times,
            ..
        } = self.select;
        skip > 0 || every.is_some() || share.is_some() || times.is_some()
    }

    /// What was asked for, without what must not be shown.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&str, &str)> {
        self.said.iter().map(|(name, value)| match name.as_str() {
            "deny-token" => (name.as_str(), "(redacted)"),
            _ => (name.as_str(), value.as_str()),
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (name, value) in self.said() {
            write!(f, "{space}{name}={value}")?;
            space = " ";
        }
        Ok(())
    }
}

impl Settings for Rule {
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        match self.select.set(name, value) {
            Err(error) if error.is_unknown() => match self.fault.set(name, value) {
                Err(error) if error.is_unknown() => {
                    let select = Select::SETTINGS.iter().map(|(name, _)| *name);
                    return Err(SettingError::unknown(name, select.chain(Fault::names())));
                }
                other => other?,
            },
            other => other?,
        }
        let shown = match self.select.key {
            Some(key) if name == "key" => key.to_string(),
            _ => value.to_owned(),
        };
        self.said.push((name.to_owned(), shown));
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
        let mut rule = Rule::default();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(Set {
                target: &mut rule,
                name: &name,
            })?;
        }
        Ok(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(select: &str, seed: u64, requests: usize) -> String {
        let rule = LiveRule::new(Rule::parse(select).expect("a rule"), 0);
        let subject = Subject {
            path: "/v1/models",
            key: KeyName::of(None),
            model: None,
        };
        (0..requests)
            .map(|_| {
                if rule.obey(subject, seed).is_some() {
                    'x'
                } else {
                    '.'
                }
            })
            .collect()
    }

    #[test]
    fn selects_by_count() {
        assert_eq!(hits("", 0, 4), "xxxx");
        assert_eq!(hits("times=2", 0, 5), "xx...");
        assert_eq!(hits("skip=1 times=2", 0, 5), ".xx..");
        assert_eq!(hits("every=3", 0, 7), "..x..x.");
        assert_eq!(hits("every=2 times=2 skip=1", 0, 8), "..x.x...");
        assert_eq!(hits("times=0", 0, 2), "..");
    }

    #[test]
    fn a_share_is_drawn_by_the_seed() {
        assert_eq!(hits("share=0.3", 7, 1_000), hits("share=30%", 7, 1_000));
        assert_ne!(hits("share=0.3", 7, 100), hits("share=0.3", 8, 100));
        for seed in 0..20 {
            let hit = hits("share=0.3", seed, 10_000).matches('x').count();
            assert!((2_800..3_200).contains(&hit), "{hit} with seed {seed}");
        }
        assert_eq!(hits("share=0", 1, 50).matches('x').count(), 0);
        assert_eq!(hits("share=100%", 1, 50).matches('x').count(), 50);
    }

    #[test]
    fn narrows_by_path_key_and_model() {
        let fits = |select: &str| {
            let rule = Rule::parse(select).expect("a rule");
            rule.select.fits(Subject {
                path: "/v1/chat/completions",
                key: KeyName::of(Some(b"Bearer sk-1")),
                model: Some("gpt-4o"),
            })
        };
        assert!(fits("path=/v1/chat key=sk-1 model=gpt-4o"));
        assert!(fits("key=c3e9a1c985d603e4"));
        assert!(!fits("path=/v1/models"));
        assert!(!fits("key=sk-2"));
        assert!(!fits("model=gpt-4o-mini"));
    }

    #[test]
    fn shows_no_secret() {
        let rule = Rule::parse("key=sk-1 deny-token=secret status=500").expect("a rule");
        let said: Vec<_> = rule.said().collect();
        let expected = [
            ("key", "c3e9a1c985d603e4"),
            ("deny-token", "(redacted)"),
            ("status", "500"),
        ];
        assert_eq!(said, expected);
        assert!(!format!("{rule:?}").contains("sk-1"));
    }

    #[test]
    fn names_what_there_is() {
        let error = Rule::parse("staus=500").expect_err("misspelt").to_string();
        assert!(error.contains("staus") && error.contains("status") && error.contains("times"));
        for text in ["every=0", "share=2", "share=-1%", "times=x"] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }
}
