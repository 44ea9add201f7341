//! Markdown files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::code::{files, root};

/// A Markdown file.
pub struct Page {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Page {
    /// Reads a file of the repository.
    pub fn read(path: &str) -> Self {
        Self::of(root().join(path))
    }

    fn of(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { path, text }
    }

    /// All of the repository.
    pub fn all() -> Vec<Self> {
        let pages = files(&root(), ".md").into_iter().map(Self::of);
        pages.collect()
    }

    /// All of a directory and those in it.
    pub fn below(dir: &str) -> Vec<Self> {
        files(&root().join(dir), ".md")
            .into_iter()
            .map(Self::of)
            .collect()
    }

    /// Its path from the root.
    pub fn name(&self) -> String {
        let path = self.path.strip_prefix(root()).unwrap_or(&self.path);
        path.display().to_string()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.path.parent().expect("a directory")
    }

    /// Its lines outside of code blocks.
    pub fn prose(&self) -> impl Iterator<Item = &str> {
        let mut in_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            in_code ^= is_fence;
            !in_code && !is_fence
        })
    }

    /// Its code blocks in a language.
    pub fn blocks(&self, language: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut block: Option<String> = None;
        for line in self.text.lines() {
            match line.trim_start().strip_prefix("```") {
                Some(_) if block.is_some() => blocks.extend(block.take()),
                Some(name) if name == language => block = Some(String::new()),
                _ => {
                    if let Some(block) = &mut block {
                        block.push_str(line);
                        block.push('\n');
                    }
                }
            }
        }
        blocks
    }

    /// Its headings of a level.
    pub fn headings(&self, level: usize) -> impl Iterator<Item = &str> {
        let mark = format!("{} ", "#".repeat(level));
        self.prose()
            .filter_map(move |line| line.strip_prefix(&mark))
    }

    /// The text below a heading, up to the next heading of this or a higher level.
    pub fn section(&self, heading: &str) -> &str {
        let start = self.text.find(&format!("\n{heading}\n"));
        let start = start.unwrap_or_else(|| panic!("{}: no {heading:?}", self.name()));
        let text = &self.text[start + heading.len() + 2..];
        let level = heading.chars().take_while(|c| *c == '#').count();
        let end = (1..=level).filter_map(|level| text.find(&format!("\n{} ", "#".repeat(level))));
        &text[..end.min().unwrap_or(text.len())]
    }
}
