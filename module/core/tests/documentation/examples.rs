//! Configurations that people copy.

use std::fs;

use crate::code::{files, root};
use crate::pages::Page;

/// What makes nginx verify an upstream's certificate, and that it is for the right name.
const VERIFICATION: [&str; 4] = [
    "proxy_ssl_verify on;",
    "proxy_ssl_trusted_certificate ",
    "proxy_ssl_server_name on;",
    "proxy_ssl_name ",
];

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_verifies(name: &str, text: &str) {
    let text = in_one_line(text);
    for directive in VERIFICATION {
        assert!(text.contains(directive), "{name}: no {directive}\n{text}");
    }
}

/// Comments count: they have the lines for OpenAI where the mock is active.
#[test]
fn shipped_configurations_verify_the_upstream() {
    let mut for_openai = 0;
    for path in files(&root().join("nginx"), ".conf") {
        let text = fs::read_to_string(&path).expect("a configuration");
        if text.contains("api.openai.com") {
            for_openai += 1;
            assert_verifies(&path.display().to_string(), &text);
        }
    }
    assert!(for_openai >= 5, "{for_openai} configurations");
}

#[test]
fn examples_in_pages_verify_the_upstream() {
    let mut for_https = 0;
    for page in Page::all() {
        for block in page.blocks("nginx") {
            let is_upstream = |line: &str| line.contains("https://") && !line.contains("probe");
            if block.lines().any(is_upstream) {
                for_https += 1;
                assert_verifies(&page.name(), &block);
            }
        }
    }
    assert!(for_https >= 3, "{for_https} examples");
}

/// The commands that the continuous integration and newcomers rely on.
#[test]
fn the_readme_has_the_commands() {
    let page = Page::read("README.md");
    let shell = page.blocks("sh").concat();
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    for target in ["run", "demo", "test", "module", "help"] {
        assert!(shell.contains(&format!("make {target}")), "make {target}");
        assert!(makefile.contains(&format!("\n{target}:")), "{target}:");
    }
}
