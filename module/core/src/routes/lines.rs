//! The lines of an `openai_routes` block.

use openai_wire::head::MAX_MODEL;

use super::{Alias, RouteError, Routes, TargetName};

/// An `openai_routes` block while it is parsed.
#[derive(Debug, Default)]
pub struct RouteLines(Routes);

impl RouteLines {
    /// Parses a line: `model PATTERN... to=TARGET...`, `otherwise to=TARGET...`, or `alias NAME
    /// MODEL [restore]`.
    ///
    /// # Errors
    /// When the line is invalid.
    pub fn read(&mut self, name: &str, words: &[&str]) -> Result<(), RouteError> {
        match name {
            "model" => self.model(words),
            "otherwise" => self.otherwise(words),
            "alias" => self.alias(words),
            _ => Err(RouteError::Unknown(name.to_owned())),
        }
    }

    fn model(&mut self, words: &[&str]) -> Result<(), RouteError> {
        let first = words.iter().position(|word| target(word).is_some());
        let (patterns, targets) = words.split_at(first.unwrap_or(words.len()));
        if patterns.is_empty() {
            return Err(RouteError::NoPattern);
        }
        let list = self.list(targets)?;
        for pattern in patterns {
            self.0.table.add(pattern, list)?;
        }
        Ok(())
    }

    fn otherwise(&mut self, words: &[&str]) -> Result<(), RouteError> {
        if self.0.otherwise.is_some() {
            return Err(RouteError::SecondOtherwise);
        }
        self.0.otherwise = Some(self.list(words)?);
        Ok(())
    }

    fn list(&mut self, words: &[&str]) -> Result<usize, RouteError> {
        let targets = words
            .iter()
            .map(|word| target(word).ok_or_else(|| RouteError::OutOfPlace((*word).to_owned())));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        self.0.lists.push(TargetName::parse_list(targets)?);
        Ok(self.0.lists.len() - 1)
    }

    fn alias(&mut self, words: &[&str]) -> Result<(), RouteError> {
        let (name, model, restore) = match *words {
            [name, model] => (name, model, false),
            [name, model, "restore"] => (name, model, true),
            _ => return Err(RouteError::Alias),
        };
        for text in [name, model] {
            if !(1..=MAX_MODEL).contains(&text.len()) {
                return Err(RouteError::Model(text.to_owned()));
            }
        }
        let added = self.0.aliases.add(Alias {
            name: name.to_owned(),
            model: model.to_owned(),
            restore,
        });
        added
            .then_some(())
            .ok_or_else(|| RouteError::Duplicate(name.to_owned()))
    }

    /// Returns the routes of the block, after all of its lines.
    ///
    /// # Errors
    /// When there are no routes, an alias stands for another alias, or no route serves the model of
    /// an alias.
    pub fn finish(self) -> Result<Routes, RouteError> {
        let mut routes = self.0;
        if routes.lists.is_empty() {
            return Err(RouteError::Empty);
        }
        routes.table.finish();
        for Alias { name, model, .. } in routes.aliases.all() {
            let (name, model) = (name.clone(), model.clone());
            if routes.aliases.find(&model).is_some() {
                return Err(RouteError::Chain { name, model });
            }
            if routes.otherwise.is_none() && routes.table.find(&model).is_none() {
                return Err(RouteError::Unserved { name, model });
            }
        }
        Ok(routes)
    }
}

/// The target in `to=TARGET`.
fn target(word: &str) -> Option<&str> {
    word.strip_prefix("to=")
}
