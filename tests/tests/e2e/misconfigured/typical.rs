//! The mistakes that people make, one test each. The message names the directive, the value, the
//! file and the line, and what to write instead; the guide for troubleshooting has it, too.

use std::fs;
use std::path::Path;

use e2e::{ConfigTest, Shipped, workspace};

use super::assert_reported;

/// A configuration without mistakes.
const SOUND: &str = r#"load_module modules/ngx_http_openai_module.so;
events {}
http {
    openai_zone   openai:8m;
    openai_prices prices.json;

    openai_redlock locks {
        node redis://127.0.0.1:6379;
        quarantine 60s;
    }

    openai_pool main {
        key env:KEY id=first;
        key file:/etc/nginx/main.keys;
        wait 30s;
        store shm;
    }

    openai_clients {
        client web env:TOKEN;
        quota web cost=5/day;
    }

    openai_routes models {
        model gpt-* to=main;
    }

    server {
        listen 127.0.0.1:8004;

        location /v1/ {
            openai main;
            proxy_pass http://127.0.0.1:1;
        }

        location /status {
            openai_api main;
        }
    }
}
"#;

/// The sound configuration with other text in it.
fn with(from: &str, to: &str) -> Shipped {
    assert!(SOUND.contains(from), "{from}");
    let prices = fs::read(workspace().join("nginx/prices.json")).expect("the prices");
    Shipped::prepare_text(&SOUND.replacen(from, to, 1), 1)
        .with("KEY", "sk-e2e-secret")
        .with("EMPTY", "")
        .with("TOKEN", "token-of-somebody")
        .with("SHORT", "secret")
        .file("main.keys", "sk-e2e-file\n")
        .file("bad-keys", "sk-e2e-one\nsk-e2e-two slots=many\n")
        .file("no-keys", "# none yet\n")
        .file("prices.json", prices)
}

/// The line that a message about a configuration points at.
fn line_of(test: &ConfigTest, dir: &Path) -> Option<String> {
    let path = dir.join("nginx.conf");
    let (_, place) = test.emergencies().first()?.rsplit_once(" in ")?;
    let (file, line) = place.rsplit_once(':')?;
    assert_eq!(Path::new(file), path, "{place}");
    let text = fs::read_to_string(path).expect("the configuration");
    let text = text.replace(&format!("{}/", dir.display()), "/etc/nginx/");
    let line = line.parse::<usize>().ok()?.checked_sub(1)?;
    text.lines().nth(line).map(|line| line.trim().to_owned())
}

/// The message of a mistake: it points at this line, and has these words. The guide has the
/// first of them.
#[track_caller]
fn assert_explained(shipped: &Shipped, line: Option<&str>, says: &[&str]) {
    let test = shipped.test();
    assert_reported(&test, says);
    assert_eq!(
        line_of(&test, shipped.path()).as_deref(),
        line,
        "{}",
        test.output
    );
    let guide = workspace().join("docs/guides/troubleshooting.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    assert!(
        guide.contains(says[0]),
        "{:?} is not in the guide: {}",
        says[0],
        test.output
    );
}

/// A test for each mistake: what is written instead of what, and the line that the message
/// points at if it is not that one.
macro_rules! mistakes {
    ($($name:ident: $from:literal => $to:literal $(at $line:literal)?, $says:expr;)+) => {$(
        #[test]
        fn $name() {
            let line = [$($line,)? $to][0];
            assert_explained(&with($from, $to), Some(line), &$says);
        }
    )+};
}

/// A key in the form of OpenAI's.
const LIKELY: &str = "sk-e2e-0123456789abc";

/// The warnings of `nginx -t`, whose configuration is accepted.
#[track_caller]
fn warnings(shipped: &Shipped) -> Vec<String> {
    let test = shipped.test();
    assert!(test.ok, "{}", test.output);
    for secret in ["sk-e2e", "OPENAI_API_KEY"] {
        assert!(!test.output.contains(secret), "{secret}: {}", test.output);
    }
    let lines = test.output.lines().filter(|line| line.contains("[warn]"));
    lines.map(str::to_owned).collect()
}

#[test]
fn keys_in_the_form_of_openai_are_accepted_without_a_warning() {
    let shipped = with("", "").with("KEY", LIKELY);
    let shipped = shipped.file("main.keys", "sk-e2e-0123456789abd\n");
    assert_eq!(warnings(&shipped), [""; 0]);
}

#[test]
fn a_key_of_another_form_is_accepted_with_a_warning() {
    let from = "key env:KEY id=first;";
    for (to, place) in [
        ("key OPENAI_API_KEY;", "key: a literal key:"),
        (from, "key: env:KEY, item 2 (and 1 more):"),
    ] {
        let keys = format!("{LIKELY},sk-e2e-short,another-e2e-0123456789");
        let shipped = with(from, to).with("KEY", &keys);
        let shipped = shipped.file("main.keys", "sk-e2e-0123456789abd\n");
        let warnings = warnings(&shipped);
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        for said in [
            "openai_pool \"main\"",
            place,
            "other providers",
            "nginx.conf:15",
        ] {
            assert!(warnings[0].contains(said), "{said}: {}", warnings[0]);
        }
    }
}

mistakes! {
    // Keys.
    a_variable_that_is_not_set: "key env:KEY id=first;" => "key env:ABSENT;",
        ["this environment variable is not set", "openai_pool \"main\": key: env:ABSENT", "set it where"];
    a_variable_that_is_empty: "key env:KEY id=first;" => "key env:EMPTY;",
        ["this environment variable is empty", "openai_pool \"main\": key: env:EMPTY", "set it where"];
    a_file_that_does_not_exist: "key file:/etc/nginx/main.keys;" => "key file:/etc/nginx/other;",
        ["No such file or directory", "openai_pool \"main\": key: file:", "/other", "create it, or correct"];
    a_file_that_is_none: "key file:/etc/nginx/main.keys;" => "key file:/etc;",
        ["Is a directory", "openai_pool \"main\": key: file:/etc", "name a file"];
    a_file_without_a_key: "key file:/etc/nginx/main.keys;" => "key file:/etc/nginx/no-keys;",
        ["contains no key", "openai_pool \"main\": key: \"file:", "no-keys", "write one into it"];
    a_mistake_in_a_key_file: "key file:/etc/nginx/main.keys;" => "key file:/etc/nginx/bad-keys;",
        ["invalid slots", "bad-keys, line 2", "\"many\"", "a number from 1 to 65535"];
    an_id_that_is_there_twice: "key file:/etc/nginx/main.keys;" => "key file:/etc/nginx/main.keys id=first;",
        ["two keys have the id", "\"first\"", "/main.keys, line 1", "see env:KEY, item 1", "choose another id"];
    a_key_that_is_there_twice: "key file:/etc/nginx/main.keys;" => "key sk-e2e-secret id=second;",
        ["are the same key", "\"first\" and \"second\"", "see env:KEY, item 1", "remove one"];
    several_keys_on_a_line: "key env:KEY id=first;" => "key sk-e2e-a,sk-e2e-b;",
        ["is not a key", "openai_pool \"main\": key: ", "without spaces and commas", "a line for each key"];
    an_option_that_is_misspelled: "key env:KEY id=first;" => "key env:KEY slot=2;",
        ["unknown option", "\"slot\"", "id=, slots=, weight=, optional"];
    a_pool_without_keys: "key env:KEY id=first;\n        key file:/etc/nginx/main.keys;" => "" at "}",
        ["has no \"key\"", "openai_pool: \"main\"", "key env:NAME;"];

    // Values and lines of pools.
    a_time_with_two_units: "wait 30s;" => "wait 1m30s;",
        ["invalid time", "openai_pool \"main\": wait: ", "\"1m30s\"", "one unit", "as 90s"];
    a_time_that_is_too_short: "wait 30s;" => "lease_ttl 5ms;",
        ["is out of range", "openai_pool \"main\": lease_ttl: \"5ms\"", "from 100ms to 1d"];
    a_limit_with_a_unit: "wait 30s;" => "limit rpm=60/m;",
        ["invalid value", "openai_pool \"main\": limit: rpm: ", "\"60/m\"", "a number from 1 to"];
    a_line_that_is_misspelled: "wait 30s;" => "waits 30s;",
        ["unknown directive \"waits\"", "openai_pool \"main\": ", "key, balance, lease_ttl, wait, "];
    a_group_that_does_not_exist: "store shm;" => "store lock;",
        ["no group", "openai_pool \"main\": store: ", "\"lock\"", "openai_redlock lock {", "or use \"locks\""];

    // Locks on Redis servers.
    a_node_without_a_scheme: "node redis://127.0.0.1:6379;" => "node 127.0.0.1:6379;",
        ["not a URL", "openai_redlock \"locks\": node: \"127.0.0.1:6379\"", "redis://HOST:PORT"];
    nodes_that_are_not_set: "node redis://127.0.0.1:6379;" => "node env:REDIS_URL;",
        ["this environment variable is not set", "openai_redlock \"locks\": node: env:REDIS_URL"];
    a_password_in_the_configuration: "quarantine 60s;" => "password hunter2;",
        ["it must be env:NAME or file:PATH", "openai_redlock \"locks\": password: "];

    // Pools and routes of locations.
    a_pool_that_does_not_exist: "openai main;" => "openai mian;",
        ["no pool", "openai: ", "\"mian\"", "openai_pool mian {", "or use \"main\""];
    a_pool_of_a_route_that_does_not_exist: "model gpt-* to=main;" => "model gpt-* to=mian;",
        ["no pool", "openai_routes \"models\": ", "\"mian\"", "or use \"main\""];
    a_pool_of_locks_that_does_not_exist: "openai_api main;" => "openai_api mian;",
        ["no pool", "openai_api: ", "\"mian\"", "or use \"main\""];
    routes_that_do_not_exist: "openai main;" => "openai_route model;",
        ["no routes", "openai_route: ", "\"model\"", "openai_routes model {", "or use \"models\""];
    routes_without_the_model: "openai main;" => "openai_route models; openai_inspect off;",
        ["hides the model", "openai_route: ", "\"openai_inspect off\"", "remove it"];

    // Semicolons.
    a_semicolon_that_is_missing: "openai main;" => "openai main" at "proxy_pass http://127.0.0.1:1;",
        ["\";\" is missing before", "openai: ", "\"proxy_pass\""];
    a_semicolon_that_is_missing_in_a_block: "key file:/etc/nginx/main.keys;" => "key file:/etc/nginx/main.keys" at "wait 30s;",
        ["\";\" is missing before", "openai_pool \"main\": key: ", "\"wait\""];
    a_semicolon_that_is_missing_at_the_end: "openai_api main;" => "openai_api main" at "}",
        ["unexpected \"}\""];
    a_semicolon_that_is_missing_before_a_block: "openai_prices prices.json;" => "openai_prices prices.json" at "openai_redlock locks {",
        ["is not terminated by \";\"", "\"openai_prices\""];

    // Clients.
    a_token_that_is_not_set: "client web env:TOKEN;" => "client web env:WEB_TOKEN;",
        ["this environment variable is not set", "openai_clients: client: env:WEB_TOKEN"];
    a_token_that_is_short: "client web env:TOKEN;" => "client web env:SHORT;",
        ["has less than 8 characters", "openai_clients: client: ", "\"web\"", "openssl rand -hex 24"];
    a_token_in_the_configuration: "client web env:TOKEN;" => "client web token-of-the-web;",
        ["must come from env:NAME or file:PATH", "openai_clients: client: ", "\"web\""];
    a_quota_per_hour: "quota web cost=5/day;" => "quota web tokens=1000/hour;",
        ["invalid tokens", "openai_clients: quota: ", "\"1000/hour\"", "per day or month", "1000000/month"];
    a_quota_of_nobody: "quota web cost=5/day;" => "quota wbe tokens=1000/day;",
        ["unknown client", "openai_clients: quota: ", "\"wbe\"", "client wbe ..."];
    a_cost_without_prices: "    openai_prices prices.json;\n" => "" at "quota web cost=5/day;",
        ["needs \"openai_prices", "openai_clients: quota: ", "\"web\""];

    // Zones and files.
    a_zone_that_is_too_small: "openai_zone   openai:8m;" => "openai_zone openai:64k;",
        ["is too small, it must have", "openai_zone: \"openai:64k\"", "116k or more"];
    a_zone_without_a_name: "openai_zone   openai:8m;" => "openai_zone 8m;",
        ["it must be NAME:SIZE", "openai_zone: ", "\"8m\"", "as openai:8m"];
    prices_that_do_not_exist: "openai_prices prices.json;" => "openai_prices other.json;",
        ["No such file or directory", "openai_prices: ", "other.json", "create it, or correct"];
    a_log_format_that_was_not_copied: "openai_prices prices.json;" => "include /etc/nginx/openai_log_format.conf;",
        ["openai_log_format.conf\" failed (2: No such file or directory)"];

    // The module and the place of its directives.
    a_module_that_is_not_loaded: "load_module modules/ngx_http_openai_module.so;" => "" at "openai_zone   openai:8m;",
        ["unknown directive \"openai_"];
    a_directive_in_the_wrong_block: "openai main;" => "openai_zone openai:8m;",
        ["directive is not allowed here", "\"openai_zone\""];
}

#[test]
fn clients_that_are_missing() {
    let (_, clients) = SOUND.split_once("openai_clients {").expect("clients");
    let (clients, _) = clients.split_once("    }\n").expect("an end");
    let clients = format!("openai_clients {{{clients}    }}\n");
    let shipped = with(&clients, "");
    let says = "needs an \"openai_clients\" block";
    assert_explained(&shipped, Some("openai_api main;"), &[says, "openai_api: "]);
    let shipped = shipped
        .replace("openai_api main;", "")
        .replace("openai main;", "openai main; openai_auth on;");
    let line = "openai main; openai_auth on;";
    assert_explained(&shipped, Some(line), &[says, "openai_auth: \"on\""]);
}

#[test]
fn a_zone_without_room_for_the_slots() {
    let line = "openai_zone openai:256k;";
    let small = |zone: &str| {
        let plan = with("openai_zone   openai:8m;", zone);
        plan.replace("id=first;", "id=first slots=60000;")
    };
    let says = [
        "slots are needed",
        "openai_zone \"openai\": 60001",
        "40m is sufficient",
    ];
    assert_explained(&small(line), Some(line), &says);
    assert!(small("openai_zone openai:40m;").test().ok);
    let says = ["slots are needed", "set it by \"openai_zone NAME:SIZE;\""];
    assert_explained(&small(""), None, &says);
}

#[test]
fn a_quarantine_that_is_too_short() {
    let line = "openai_redlock locks {";
    let shipped = with("quarantine 60s;", "quarantine 1s;").replace("store shm;", "store locks;");
    let says = ["quarantine: 1s is too short", "it must be 30s or more"];
    assert_explained(&shipped, Some(line), &says);
}

/// The size that a message asks for is accepted.
#[test]
fn the_least_size_of_a_zone_is_accepted() {
    let small = with("openai_zone   openai:8m;", "openai_zone openai:116k;");
    let small = small.replace("store shm;", "queue 1;");
    let test = small.test();
    assert!(test.ok, "{}", test.output);
}

/// A module says which version of nginx it was built for. nginx knows no more than that.
#[test]
fn a_module_for_another_version() {
    let shipped = with("events {}", "events {}");
    let text = fs::read_to_string(shipped.path().join("nginx.conf")).expect("it is there");
    let path = text.split("load_module ").nth(1).expect("the module");
    let (path, _) = path.split_once(';').expect("its path");
    let mut module = fs::read(path).expect("the module");
    // The record: two indexes that are not set yet, three null pointers, and the version.
    let before = [[0xff; 16].as_slice(), &[0; 24]].concat();
    let found = module.windows(48).position(|bytes| {
        let (head, version) = bytes.split_at(40);
        head == before && version[4..] == [0; 4] && version[2] == 0x0f
    });
    let at = found.expect("the record") + 40;
    module[at] ^= 1;
    let shipped = shipped
        .file("other.so", module)
        .replace(path, "/etc/nginx/other.so");
    let other = shipped.path().join("other.so").display().to_string();
    let shipped = shipped.replace("/etc/nginx/other.so", &other);
    let says = [" instead of ", "module \"", "other.so\" version 1"];
    let line = "load_module /etc/nginx/other.so;";
    assert_explained(&shipped, Some(line), &says);
}
