//! `docs/reference` has an entry for every name of the code, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::code::{self, matches, root};
use crate::pages::Page;

/// Fails if the two differ, and says how.
#[track_caller]
fn assert_same(what: &str, code: &BTreeSet<String>, page: &BTreeSet<String>) {
    let missing: Vec<_> = code.difference(page).collect();
    let unknown: Vec<_> = page.difference(code).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{what}: not documented: {missing:?}; documented, but not in the code: {unknown:?}"
    );
}

/// The same for names with a property.
#[track_caller]
fn assert_same_with(what: &str, code: &BTreeMap<String, String>, page: &BTreeMap<String, String>) {
    let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect();
    assert_same(what, &names(code), &names(page));
    let differ: Vec<_> = code
        .iter()
        .filter(|(name, property)| page.get(*name) != Some(property))
        .collect();
    assert!(
        differ.is_empty(),
        "{what}: documented otherwise: {differ:?}"
    );
}

fn is_name(heading: &str) -> bool {
    heading.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn directives() {
    let directives = code::directives();
    let pages = Page::below("docs/reference/directives");
    let mut described = BTreeSet::new();
    let mut parameters = BTreeSet::new();
    for page in &pages {
        let of = |level| {
            page.headings(level)
                .filter(|h| is_name(h))
                .map(str::to_owned)
        };
        for name in of(2) {
            let section = page.section(&format!("## {name}"));
            for part in [
                "**Syntax:** `",
                "**Default:** ",
                "**Context:** `",
                "This directive appeared in version ",
            ] {
                assert!(section.contains(part), "{}: {name}: no {part}", page.name());
            }
            assert!(described.insert(name.clone()), "{name} is described twice");
        }
        for name in of(3) {
            let section = page.section(&format!("### {name}"));
            for part in ["**Syntax:** `", "**Default:** ", "**Context:** `"] {
                assert!(section.contains(part), "{}: {name}: no {part}", page.name());
            }
            parameters.insert(name);
        }
    }
    assert_same("directives", &directives, &described);
    assert_same("parameters of blocks", &code::parameters(), &parameters);

    let index = Page::read("docs/reference/directives.md");
    let listed = code::matches(&index.text, r"(?m)^\| \[`(openai[a-z_]*)`\]");
    assert_same("index of directives", &directives, &listed);
}

#[test]
fn variables() {
    let page = Page::read("docs/reference/variables.md");
    let described = code::matches(&page.text, r"(?m)^\| `(\$openai_[a-z_]+)` \|");
    assert_same("variables", &code::variables(), &described);
}

#[test]
fn events() {
    let page = Page::read("docs/reference/events.md");
    let described = page.headings(3).map(|name| {
        let section = page.section(&format!("### {name}"));
        let level = code::matches(section, r"^\s*Level `([a-z]+)`\.");
        assert!(section.contains("**What to do:**"), "{name}: what to do?");
        (name.to_owned(), level.into_iter().collect::<String>())
    });
    assert_same_with("events", &code::events(), &described.collect());
}

/// Fields of the access log.
#[test]
fn access_log() {
    let format = fs::read_to_string(root().join("nginx/log_format.conf"));
    let fields = matches(
        &format.expect("the log format"),
        r#"(?m)^    '"([a-z_]+)":"#,
    );
    assert!(fields.len() > 40, "{fields:?}");
    let page = Page::read("docs/reference/access-log.md");
    let rows = page.text.lines().filter(|line| line.starts_with("| `"));
    let names = rows.filter_map(|row| row.split('|').nth(1));
    let names = names.flat_map(|cell| matches(cell, "`([a-z_]+)`"));
    assert_same("access log", &fields, &names.collect());
}

#[test]
fn metrics() {
    let page = Page::read("docs/reference/metrics.md");
    let rows = page.text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (name, kind) = (cells.next()?, cells.next()?);
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        ["counter", "gauge", "histogram"]
            .contains(&kind)
            .then(|| (name.to_owned(), kind.to_owned()))
    });
    assert_same_with("metrics", &code::metrics(), &rows.collect());
}

#[test]
fn error_codes() {
    let page = Page::read("docs/reference/errors.md");
    let mut described = BTreeSet::new();
    for name in page.headings(3) {
        let section = page.section(&format!("### {name}"));
        for part in ["**Client:**", "**Operator:**"] {
            assert!(section.contains(part), "{name}: no {part}");
        }
        described.insert(name.to_owned());
    }
    assert_same("error codes", &code::error_codes(), &described);
}

#[test]
fn paths_of_the_lock_service() {
    let page = Page::read("docs/reference/http-api.md");
    let described = code::matches(&page.text, r"`(?:GET|POST|DELETE) (/[A-Za-z0-9/._-]*)`");
    assert_same("paths", &code::paths(), &described);
}

#[test]
fn environment() {
    let page = Page::read("docs/reference/environment.md");
    let described = code::matches(page.section("## Module"), r"(?m)^\| `([A-Z_]+)` \|");
    assert_same("environment", &code::environment(), &described);
}

/// No page names a variable, a directive or a metric that does not exist.
#[test]
fn names_in_all_pages() {
    let variables = code::variables();
    let mut known = code::directives();
    known.extend(code::metrics().into_keys());
    known.extend(["openai_log_format", "openai_json", "openai_events"].map(str::to_owned));
    let history = ["CHANGELOG.md"];
    for page in Page::all() {
        if history.contains(&page.name().as_str()) {
            continue;
        }
        // With a star, it is the beginning of several.
        for name in code::matches(&page.text, r"(\$openai_[a-z_]*[a-z])\b") {
            assert!(variables.contains(&name), "{}: {name}", page.name());
        }
        for name in code::matches(&page.text, r"(?:^|[^$\w./-])(openai_[a-z_]*[a-z])\b") {
            let is_part = known
                .iter()
                .any(|known| known.starts_with(&format!("{name}_")));
            let is_series = ["_bucket", "_sum", "_count"].iter().any(|ending| {
                name.strip_suffix(ending)
                    .is_some_and(|name| known.contains(name))
            });
            assert!(
                known.contains(&name) || is_part || is_series,
                "{}: {name}",
                page.name()
            );
        }
    }
}
