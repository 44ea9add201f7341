//! The examples in README, guides and reference.

use std::fs;
use std::path::{Path, PathBuf};

use crate::flavour::workspace;

/// An example in a page.
#[derive(Debug)]
pub struct Example {
    /// The page, from the root of the repository.
    pub page: String,
    /// The text between the fences.
    pub text: String,
}

impl Example {
    /// All in this language, which stands behind the opening fence.
    pub fn all(language: &str) -> Vec<Self> {
        let mut pages = vec![workspace().join("README.md")];
        find(&workspace().join("docs"), &mut pages);
        pages.sort();
        let opening = format!("{language}\n");
        let mut found = Vec::new();
        for path in pages {
            let page = path.strip_prefix(workspace()).unwrap_or(&path);
            let page = page.display().to_string();
            let text = fs::read_to_string(&path).expect("the page");
            let blocks = text.split("```").skip(1).step_by(2);
            let blocks = blocks.filter_map(|block| block.strip_prefix(&opening));
            found.extend(blocks.map(|text| Self {
                page: page.clone(),
                text: text.to_owned(),
            }));
        }
        found
    }
}

fn find(dir: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}
