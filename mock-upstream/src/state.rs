//! What all requests share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use axum::http::HeaderMap;

use crate::clock::Clock;
use crate::fault::{self, Fault, PREFIX};
use crate::journal::Journal;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::replay::Replay;
use crate::rule::{LiveRule, Rule, Subject, Tally};
use crate::scenario::{Scenario, ScenarioError};
use crate::settings::{SettingError, Settings};
use crate::witness::Witness;

/// So many values of `X-Mock-Scope` are kept apart; then all start anew.
const MAX_SCOPES: usize = 10_000;

/// The scenario in force.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    /// What an answer is like when no fault is for it.
    pub(crate) usual: Fault,
    /// The scenario's rules, then those that were added at run time.
    pub(crate) rules: Vec<Arc<LiveRule>>,
}

#[derive(Debug, Default)]
struct Added {
    rules: Vec<Arc<LiveRule>>,
    next_salt: u64,
}

#[derive(Debug)]
pub(crate) struct Mock {
    plan: ArcSwap<Plan>,
    /// Held while the plan is changed.
    added: Mutex<Added>,
    /// Why the scenario file in force is not the one on the disk.
    file_error: Mutex<Option<ScenarioError>>,
    scopes: Mutex<HashMap<String, Arc<Tally>>>,
    arrivals: AtomicU64,
    pub(crate) witness: Arc<Witness>,
    pub(crate) keys: Keys,
    pub(crate) journal: Journal,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) replay: Option<Replay>,
}

impl Plan {
    fn new(scenario: Scenario, added: &mut Added) -> Self {
        let own = scenario.rules.iter().map(|rule| added.live(rule.clone()));
        let mut rules: Vec<_> = own.collect();
        rules.extend(added.rules.iter().cloned());
        Self {
            usual: scenario.answer.clone(),
            scenario,
            rules,
        }
    }
}

impl Added {
    fn live(&mut self, rule: Rule) -> Arc<LiveRule> {
        self.next_salt += 1;
        // Odd constants keep the salts apart from seeds that people choose.
        let salt = self.next_salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff;
        Arc::new(LiveRule::new(rule, salt))
    }
}

impl Mock {
    pub(crate) fn new(scenario: Scenario, clock: Clock, replay: Option<Replay>) -> Arc<Self> {
        let mut added = Added::default();
        let witness = Arc::new(Witness::new(scenario.slots));
        let plan = Plan::new(scenario, &mut added);
        Arc::new(Self {
            plan: ArcSwap::from_pointee(plan),
            added: Mutex::new(added),
            file_error: Mutex::default(),
            scopes: Mutex::default(),
            arrivals: AtomicU64::new(0),
            witness,
            keys: Keys::default(),
            journal: Journal::default(),
            metrics: Metrics::default(),
            clock,
            replay,
        })
    }

    pub(crate) fn plan(&self) -> Guard<Arc<Plan>> {
        self.plan.load()
    }

    /// The number of the request that has just arrived.
    pub(crate) fn next_number(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Puts a scenario into force. Rules that were added at run time stay; counts of its own
    /// rules start anew.
    pub(crate) fn replace(&self, scenario: Scenario) {
        let mut added = self.lock_added();
        self.plan.store(Arc::new(Plan::new(scenario, &mut added)));
    }

    /// Changes the scenario in force; nothing, if that fails.
    pub(crate) fn change<E>(
        &self,
        change: impl FnOnce(&mut Scenario) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut added = self.lock_added();
        let mut scenario = self.plan.load().scenario.clone();
        change(&mut scenario)?;
        self.plan.store(Arc::new(Plan::new(scenario, &mut added)));
        Ok(())
    }

    /// Adds rules to those in force, whose counts go on.
    pub(crate) fn add_rules(&self, rules: Vec<Rule>) {
        self.edit_rules(|added, plan| {
            for rule in rules {
                let rule = added.live(rule);
                added.rules.push(Arc::clone(&rule));
                plan.push(rule);
            }
        });
    }

    /// Removes the rules that were added at run time.
    pub(crate) fn remove_added_rules(&self) {
        self.edit_rules(|added, plan| {
            plan.truncate(plan.len() - added.rules.len());
            added.rules.clear();
        });
    }

    fn edit_rules(&self, edit: impl FnOnce(&mut Added, &mut Vec<Arc<LiveRule>>)) {
        let mut added = self.lock_added();
        let plan = self.plan.load();
        let mut rules = plan.rules.clone();
        edit(&mut added, &mut rules);
        self.plan.store(Arc::new(Plan {
            scenario: plan.scenario.clone(),
            usual: plan.usual.clone(),
            rules,
        }));
    }

    /// Starts every count anew: statistics, journal, limits, rules.
    pub(crate) fn reset(&self) {
        self.witness.reset();
        self.journal.reset();
        self.keys.reset();
        self.lock_scopes().clear();
        self.plan
            .load()
            .rules
            .iter()
            .for_each(|rule| rule.tally.reset());
        if let Some(replay) = &self.replay {
            replay.reset();
        }
    }

    pub(crate) fn set_file_error(&self, error: Option<ScenarioError>) {
        *self
            .file_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(crate) fn file_error(&self) -> Option<ScenarioError> {
        let error = self.file_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is asked of the answer to this request, if it is not the usual: by rules, by its
    /// headers; the later goes before the earlier.
    pub(crate) fn fault_for(
        &self,
        plan: &Plan,
        subject: Subject<'_>,
        headers: &HeaderMap,
    ) -> Result<(Option<Box<Fault>>, String), SettingError> {
        let mut fault = None;
        let usual = || Box::new(plan.usual.clone());
        let mut said = String::new();
        let seed = plan.scenario.seed;
        for rule in &plan.rules {
            if let Some(own) = rule.obey(subject, seed) {
                fault.get_or_insert_with(usual).overlay(own);
                note(&mut said, &rule.rule);
            }
        }
        let mut asked: Option<Rule> = None;
        let mut scope = None;
        for setting in fault::headers(headers) {
            let (name, value) = setting?;
            if name == "scope" {
                scope = Some(value);
                continue;
            }
            let asked = asked.get_or_insert_default();
            asked
                .set(name, value)
                .map_err(|error| error.prefixed(PREFIX))?;
        }
        if let Some(rule) = asked {
            let hit = !rule.counts() || {
                let scope = scope.map_or_else(|| rule.to_string(), str::to_owned);
                self.tally(scope).next_is_hit(&rule.select, seed)
            };
            if hit {
                fault.get_or_insert_with(usual).overlay(&rule.fault);
                note(&mut said, &rule);
            }
        }
        Ok((fault, said))
    }

    fn tally(&self, scope: String) -> Arc<Tally> {
        let mut scopes = self.lock_scopes();
        if scopes.len() >= MAX_SCOPES && !scopes.contains_key(&scope) {
            scopes.clear();
        }
        Arc::clone(scopes.entry(scope).or_default())
    }

    fn lock_scopes(&self) -> MutexGuard<'_, HashMap<String, Arc<Tally>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_added(&self) -> MutexGuard<'_, Added> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(said: &mut String, rule: &Rule) {
    if !said.is_empty() {
        said.push_str("; ");
    }
    said.push_str(&rule.to_string());
}
