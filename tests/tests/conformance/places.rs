//! Where things are: the gateway on 127.0.0.1:8004, the mock on 127.0.0.1:8080.

use std::fs;

use e2e::workspace;
use serde_yaml_ng::Value;

use crate::bed::Config;

on_each_configuration!(the_gateway_is_on_8004_and_the_mock_on_8080);

fn the_gateway_is_on_8004_and_the_mock_on_8080(config: Config) {
    let read = |path: &str| fs::read_to_string(workspace().join("nginx").join(path)).expect(path);
    let text = read(config.file());
    let has = |directive: &str| {
        let words: Vec<&str> = directive.split_whitespace().collect();
        text.lines()
            .any(|line| line.split_whitespace().eq(words.iter().copied()))
    };
    if config == Config::Container {
        // Within its network it listens for all; compose shows it to this machine only.
        assert!(has("listen 8004;") && has("server mock:8080;"), "{text}");
        let compose: Value =
            serde_yaml_ng::from_str(&read("container/compose.yaml")).expect("YAML");
        for (service, ports) in [
            ("gateway", "127.0.0.1:8004:8004"),
            ("mock", "127.0.0.1:8080:8080"),
        ] {
            assert_eq!(compose["services"][service]["ports"][0], ports);
        }
    } else {
        assert!(has("listen 127.0.0.1:8004;"), "{text}");
        assert!(has("server 127.0.0.1:8080;"), "{text}");
    }
}
