//! Patterns of model names.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::RouteError;
use super::prefixes::Prefixes;

/// Maximum compiled size of a regular expression, in bytes.
const MAX_PROGRAM: usize = 1 << 20;

/// The patterns of an `openai_routes` block.
#[derive(Debug, Default)]
pub(super) struct PatternTable {
    all: Vec<Pattern>,
    exact: HashMap<String, usize>,
    prefixes: Prefixes,
    regexes: Vec<(Regex, usize)>,
}

/// A pattern and the index of its target list.
#[derive(Debug)]
struct Pattern {
    text: String,
    list: usize,
}

impl PatternTable {
    /// Adds a pattern. [`PatternTable::finish`] must be called before the patterns are searched.
    pub(super) fn add(&mut self, text: &str, list: usize) -> Result<(), RouteError> {
        if self.all.iter().any(|pattern| pattern.text == text) {
            return Err(RouteError::Duplicate(text.to_owned()));
        }
        let at = self.all.len();
        if let Some(expression) = text.strip_prefix('~') {
            let (expression, any_case) = match expression.strip_prefix('*') {
                Some(rest) => (rest, true),
                None => (expression, false),
            };
            self.regexes.push((regex(expression, any_case)?, at));
        } else {
            match text.split_once('*') {
                None if text.is_empty() => return Err(RouteError::EmptyPattern),
                None => drop(self.exact.insert(text.to_owned(), at)),
                Some((prefix, "")) => self.prefixes.add(prefix, at),
                Some(_) => return Err(RouteError::Star(text.to_owned())),
            }
        }
        self.all.push(Pattern {
            text: text.to_owned(),
            list,
        });
        Ok(())
    }

    /// Ends the adding of patterns.
    pub(super) fn finish(&mut self) {
        self.prefixes.link();
    }

    /// The pattern that matches a model, and its target list.
    pub(super) fn find(&self, model: &str) -> Option<(usize, usize)> {
        let exact = self.exact.get(model).copied();
        let found = exact
            .or_else(|| self.prefixes.find(model))
            .or_else(|| self.regex(model))?;
        Some((found, self.all[found].list))
    }

    /// The pattern `*`, and its target list.
    pub(super) fn any(&self) -> Option<(usize, usize)> {
        let found = self.prefixes.find("")?;
        Some((found, self.all[found].list))
    }

    fn regex(&self, model: &str) -> Option<usize> {
        let mut regexes = self.regexes.iter();
        regexes
            .find(|(regex, _)| regex.is_match(model))
            .map(|&(_, at)| at)
    }

    pub(super) fn text(&self, pattern: usize) -> Option<&str> {
        self.all.get(pattern).map(|pattern| pattern.text.as_str())
    }
}

fn regex(expression: &str, any_case: bool) -> Result<Regex, RouteError> {
    let built = RegexBuilder::new(expression)
        .case_insensitive(any_case)
        .size_limit(MAX_PROGRAM)
        .build();
    built.map_err(|error| {
        // A syntax error has several lines; the last one contains the reason.
        let text = error.to_string();
        let why = text.lines().last().unwrap_or_default();
        RouteError::Regex {
            expression: expression.to_owned(),
            why: why.trim_start_matches("error: ").to_owned(),
        }
    })
}
