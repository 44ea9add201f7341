//! Names that the sources define.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

/// All files below a directory whose name ends so, except for build results and hidden directories.
pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code below a directory, without comments and tests.
fn code(dir: &str) -> String {
    let is_test = |path: &&PathBuf| {
        let parts = path.iter().map(|part| part.to_string_lossy());
        parts
            .skip_while(|part| part != "src")
            .any(|part| part == "tests" || part == "tests.rs")
    };
    let mut text = String::new();
    for path in files(&root().join(dir), ".rs")
        .iter()
        .filter(|path| !is_test(path))
    {
        let source = fs::read_to_string(path).expect("a source file");
        for line in source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// What the first group of a pattern matches.
pub fn matches(text: &str, pattern: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect()
}

/// What the second group of a pattern matches, with what the first one does.
pub fn pairs(text: &str, pattern: &str) -> BTreeMap<String, String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern
        .captures_iter(text)
        .map(|found| (found[2].to_owned(), found[1].to_owned()))
        .collect()
}

/// Fails if fewer names are found than there were when this was written: the pattern no longer fits.
fn at_least<T>(least: usize, what: &str, names: T) -> T
where
    for<'a> &'a T: IntoIterator,
{
    let count = (&names).into_iter().count();
    assert!(count >= least, "the sources have only {count} {what}");
    names
}

/// All directives.
pub fn directives() -> BTreeSet<String> {
    let names = matches(&code("module/src"), r#"\bc"(openai[a-z_]*)""#);
    at_least(30, "directives", names)
}

/// All parameters of blocks: their readers name each of them, some in lists.
pub fn parameters() -> BTreeSet<String> {
    let text = code("module/src/config");
    let lists = [
        r"(?s)const NAMES: \[&str; \d+\] = \[(.*?)\]",
        r"(?s)for name in \[(.*?)\]",
    ];
    let lists = lists.iter().flat_map(|pattern| matches(&text, pattern));
    let listed = lists.flat_map(|list| matches(&list, r#""([a-z_]+)""#));
    let named = matches(&text, r#"\bline\s*\.(?:one|once|each)\(\s*"([a-z_]+)""#);
    at_least(35, "parameters of blocks", listed.chain(named).collect())
}

/// All variables, with their dollar sign.
pub fn variables() -> BTreeSet<String> {
    let names = matches(&code("module/src"), r#"variable\(\s*"(openai_[a-z_]+)""#);
    at_least(35, "variables", names)
        .into_iter()
        .map(|name| format!("${name}"))
        .collect()
}

/// All events, with their levels.
pub fn events() -> BTreeMap<String, String> {
    let text = code("module/src");
    let mut events = pairs(&text, r#"Level::([A-Z][a-z]+),\s*"([a-z_]+)""#);
    // Events of locks have a function of their own.
    for name in matches(&text, r#"\(\s*"(lock_(?:acquired|extended|released))""#) {
        events.insert(name, "Info".to_owned());
    }
    for level in events.values_mut() {
        level.make_ascii_lowercase();
    }
    at_least(30, "events", events)
}

/// All metrics, with their types.
pub fn metrics() -> BTreeMap<String, String> {
    let families = fs::read_to_string(root().join("module/core/src/metrics/families.txt"));
    let families = families.expect("the families of metrics");
    let lines = families.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        Some((words.next()?, words.next()?))
    });
    at_least(40, "metrics", lines.collect())
}

/// All error codes.
pub fn error_codes() -> BTreeSet<String> {
    let mut codes = matches(
        &code("module/wire/src/error"),
        r#" "[a-z_]+" / "([a-z_]+)""#,
    );
    let problems = fs::read_to_string(root().join("module/core/src/admin/problem.rs"));
    let problems = problems.expect("the errors of the lock service");
    codes.extend(matches(&problems, r#"Some\("([a-z_]+)"\)"#));
    codes.extend(matches(&problems, r#"=> \(\s*"([a-z_]+)","#));
    at_least(25, "error codes", codes)
}

/// All paths of the lock service.
pub fn paths() -> BTreeSet<String> {
    let routes = fs::read_to_string(root().join("module/core/src/admin/route.rs"));
    let mut paths = matches(
        &routes.expect("the paths of the lock service"),
        r#""(/[a-z0-9/._-]*)"(?: \||\s*=>)"#,
    );
    paths.insert("/v1/locks/LOCK_ID/force-release".to_owned());
    at_least(15, "paths", paths)
}

/// Variables of the environment that the module itself reads.
pub fn environment() -> BTreeSet<String> {
    let text = code("module/src") + &code("module/openai-keys/src");
    let mut names = matches(&text, r#"\benvironment\(conf, "([A-Z_]+)"\)"#);
    names.extend(matches(&text, r#"const VARIABLE: &str = "([A-Z_]+)""#));
    at_least(3, "variables of the environment", names)
}
