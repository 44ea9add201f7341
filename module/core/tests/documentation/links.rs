//! Links between Markdown files, and the paths that they name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::code::{matches, root};
use crate::pages::Page;

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(page: &Page) -> Vec<String> {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").expect("a pattern");
    let mut anchors: Vec<String> = Vec::new();
    for line in page.prose() {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let text = link.replace_all(heading.trim(), "$1");
        let kept = text.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
        });
        let anchor: String = kept.collect();
        let same = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(if same == 0 {
            anchor
        } else {
            format!("{anchor}-{same}")
        });
    }
    anchors
}

fn normal(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[test]
fn links_lead_somewhere() {
    let pages = Page::all();
    let all: BTreeMap<PathBuf, Vec<String>> = pages
        .iter()
        .map(|page| (normal(&page.path), anchors(page)))
        .collect();
    let mut broken = Vec::new();
    for page in &pages {
        let prose = page.prose().collect::<Vec<_>>().join("\n");
        for link in matches(&prose, r"\]\(([^)\s]+)\)") {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                page.path.clone()
            } else {
                page.dir().join(path)
            };
            let is_there = target.exists();
            let anchors = all.get(&normal(&target));
            let is_anchor = anchor.is_empty()
                || anchors.is_some_and(|all| all.iter().any(|other| other == anchor));
            if !is_there || !is_anchor {
                broken.push(format!("{}: {link}", page.name()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

#[test]
fn source_files_exist() {
    let roots = ["", "module", "module/src"].map(|dir| root().join(dir));
    let mut missing = Vec::new();
    let mut pages = Page::below("docs");
    pages.extend(["CONTRIBUTING.md", "SECURITY.md", "README.md"].map(Page::read));
    for page in pages {
        for path in matches(&page.text, r"`([a-z0-9_/-]+/[a-z0-9_]+\.rs)`") {
            // A module may become a directory, and the page stays right.
            let directory = path.replace(".rs", "/mod.rs");
            let is_there = |path: &String| roots.iter().any(|root| root.join(path).exists());
            if ![&path, &directory].into_iter().any(is_there) {
                missing.push(format!("{}: {path}", page.name()));
            }
        }
    }
    assert!(missing.is_empty(), "no such files: {missing:#?}");
}

#[test]
fn pages_are_short() {
    let limits = [("README.md", 200), ("docs/", 400)];
    for page in Page::all() {
        for (place, most) in limits {
            let lines = page.text.lines().count();
            let is_bound = page.name().starts_with(place);
            assert!(!is_bound || lines <= most, "{}: {lines} lines", page.name());
        }
    }
}
