//! The nginx configurations in README, guides and reference, and the files for `conf.d`, do load;
//! the calls are answered. The programs that need a client library are in the target `clients`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Authority, Call, Example, Shipped, workspace};
use mock_upstream::{Scenario, Server, Tls};

/// Names of providers; nginx looks names up when it reads them, and a test has no DNS.
const HOSTS: [&str; 3] = [
    "api.openai.com",
    "YOUR-RESOURCE.openai.azure.com",
    "api.anthropic.com",
];

/// Directives that are outside of `http`. All others are in `http`, but for those below.
const MAIN: [&str; 6] = [
    "load_module",
    "events",
    "http",
    "env",
    "error_log",
    "worker_shutdown_timeout",
];

/// What a snippet may rely on, with what it is recognized by and what defines it.
const SCAFFOLD: [(&str, &str, &str); 13] = [
    (
        "",
        "openai_pool main ",
        "openai_pool main { key sk-e2e-key-of-pool-main; }",
    ),
    (
        "spare",
        "openai_pool spare ",
        "openai_pool spare { key sk-e2e-key-of-pool-spare; }",
    ),
    (
        "local",
        "openai_pool local ",
        "openai_pool local { key sk-e2e-key-of-pool-local; }",
    ),
    (
        "azure",
        "openai_pool azure ",
        "openai_pool azure { key sk-e2e-key-of-pool-azure; }",
    ),
    (
        "anthropic",
        "openai_pool anthropic ",
        "openai_pool anthropic { key sk-e2e-key-of-pool-anthropic; }",
    ),
    (
        "://azure",
        "upstream azure ",
        "upstream azure { server 127.0.0.1:443; }",
    ),
    (
        "://anthropic",
        "upstream anthropic ",
        "upstream anthropic { server 127.0.0.1:443; }",
    ),
    (
        "openai_route ",
        "openai_routes ",
        "openai_routes models { model * to=main@openai; }",
    ),
    (
        "$provider;",
        "$provider {",
        "map $openai_upstream $provider { default http://127.0.0.1; }",
    ),
    (
        "$leased_key;",
        "$leased_key {",
        "map $http_authorization $leased_key { default x; }",
    ),
    (
        "openai_json",
        "include ",
        "include /etc/nginx/openai_log_format.conf;",
    ),
    ("cost=", "openai_prices ", "openai_prices prices.json;"),
    (
        "",
        "openai_clients {",
        "openai_clients { client ops env:ADMIN_TOKEN role=admin; }",
    ),
];

/// The statements of a text, each with what is in its braces.
fn statements(text: &str) -> Vec<String> {
    let (mut found, mut statement) = (Vec::new(), String::new());
    let (mut depth, mut quoted) = (0, false);
    for line in text.lines() {
        for c in line.chars() {
            match c {
                '#' if !quoted => break,
                '"' => quoted = !quoted,
                '{' if !quoted => depth += 1,
                '}' if !quoted => depth -= 1,
                _ => {}
            }
            statement.push(c);
            if depth == 0 && !quoted && (c == ';' || c == '}') {
                found.push(statement.trim().to_owned());
                statement.clear();
            }
        }
        statement.push('\n');
    }
    assert_eq!(statement.trim(), "", "{text}");
    found
}

/// A whole configuration with a snippet in it.
fn whole(snippet: &str) -> String {
    let mut parts = [vec![], vec![], vec![]];
    for statement in statements(snippet) {
        let name = statement.split_whitespace().next().unwrap_or_default();
        let place = match name {
            "location" => 2,
            _ if MAIN.contains(&name) => 0,
            _ => 1,
        };
        parts[place].push(statement);
    }
    let [mut main, mut http, server] = parts;
    if main.iter().any(|part| part.starts_with("http")) {
        return main.join("\n");
    }
    for (used, defined, definition) in SCAFFOLD {
        if snippet.contains(used) && !snippet.contains(defined) {
            // A log format has to be defined before it is used.
            http.insert(0, definition.to_owned());
        }
    }
    main.insert(
        0,
        "load_module modules/ngx_http_openai_module.so;".to_owned(),
    );
    let (main, http, server) = (main.join("\n"), http.join("\n"), server.join("\n"));
    format!(
        "{main}\nevents {{}}\nhttp {{\n{http}\nserver {{\nlisten 127.0.0.1:8004; server_name example;\n{server}\n}}\n}}\n"
    )
}

/// Has nginx test a configuration.
#[track_caller]
fn load(what: &str, text: &str) {
    let mut text = text.to_owned();
    for host in HOSTS {
        for address in [format!("server {host}"), format!("https://{host}")] {
            let here = address.replace(host, "127.0.0.1");
            text = text.replace(&address, &here);
        }
    }
    let test = furnish(Shipped::prepare_text(&text, 1)).test();
    assert!(test.ok, "{what}: {}\n{text}", test.output);
    assert!(test.emergencies().is_empty(), "{what}: {}", test.output);
    assert!(!test.output.contains("[warn]"), "{what}: {}", test.output);
}

/// Adds the files and variables that examples name.
fn furnish(mut shipped: Shipped) -> Shipped {
    for (name, value) in [
        ("WEB_TOKEN", "token-of-the-web"),
        ("APP_TOKEN", "token-of-the-app"),
        ("BATCH_TOKEN", "token-of-the-batch"),
        ("REDIS_PASSWORD", "password-of-redis"),
    ] {
        shipped = shipped.with(name, value);
    }
    let directory = shipped.path().join("openai");
    fs::create_dir(directory).expect("the directory is writable");
    let nginx = workspace().join("nginx");
    let format = fs::read_to_string(nginx.join("log_format.conf")).expect("the log format");
    let prices = fs::read_to_string(nginx.join("prices.json")).expect("the prices");
    for (name, content) in [
        ("openai_log_format.conf", &*format),
        ("prices.json", &prices),
        ("openai/keys", "sk-e2e-key-of-file-a-1\n"),
        ("openai/azure.keys", "sk-e2e-key-of-file-b-1\n"),
        ("openai/anthropic.keys", "sk-e2e-key-of-file-c-1\n"),
        ("openai/web.token", Shipped::TOKEN),
        ("openai/ops.token", "token-of-the-ops\n"),
        ("openai/redis.password", "password-of-redis\n"),
        ("keys/main.keys", "sk-e2e-key-of-file-d-1\n"),
    ] {
        shipped = shipped.file(name, content);
    }
    let authority = fs::read(shipped.path().join("tls/gateway.crt")).expect("a certificate");
    shipped.file("redis-ca.crt", authority)
}

#[test]
fn the_examples_in_all_pages_load() {
    let examples = Example::all("nginx");
    for example in &examples {
        load(&example.page, &whole(&example.text));
    }
    assert!(examples.len() >= 20, "{} examples", examples.len());
}

/// The calls by curl alone are sent to a gateway as that of `make run`, whose address takes the
/// place of `localhost:8004` and `127.0.0.1:8004`. The names that pages give to tokens are those
/// of its tokens. None of the calls may fail.
#[test]
fn the_calls_in_all_pages_are_answered() {
    let mock = Server::new(Scenario::new().delay(Duration::ZERO));
    let mock = mock.start().expect("the mock starts");
    let running = Shipped::prepare("run.conf", mock.addr().port())
        .with("DEV_MODE", "true")
        .start();
    let (gateway, upstream) = (format!("127.0.0.1:{}", running.port()), mock.addr());
    let calls = Example::all("sh").into_iter();
    let calls: Vec<_> = calls
        .filter(|example| example.text.starts_with("curl ") && example.text.contains(":8004"))
        .collect();
    assert!(calls.len() >= 6, "{} calls", calls.len());
    for Example { page, text } in calls {
        let text = text
            .replace("localhost:8004", &gateway)
            .replace("127.0.0.1:8004", &gateway)
            .replace("127.0.0.1:8080", &upstream.to_string());
        let fails = "curl() { command curl --fail-with-body --silent --show-error \"$@\"; }";
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &format!("{fails}\n{text}")])
            .envs(["TOKEN", "WEB_TOKEN"].map(|name| (name, "dev-token")))
            .env("ADMIN_TOKEN", "admin-token")
            .output()
            .expect("bash");
        let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy);
        assert!(output.status.success(), "{page}: {text}{}", said.concat());
        if text.contains("\"stream\":true") {
            assert!(said[0].ends_with("data: [DONE]\n\n"), "{page}: {said:?}");
        }
    }
    running.stop();
}

/// The lines for OpenAI, with this machine as api.openai.com.
fn for_openai(name: &str, upstream: u16, authority: &Path) -> Shipped {
    let here = format!("127.0.0.1:{upstream}");
    let trusted = authority.display().to_string();
    let shipped = match name {
        "conf.d/openai.conf" => Shipped::prepare_text(&whole(&conf_d("openai.conf")), upstream),
        name => Shipped::prepare(name, upstream),
    };
    let shipped = match name {
        "minimal.conf" => shipped
            .replace(&format!("proxy_pass http://{here};"), "")
            .replace("#   proxy", "proxy")
            .replace("https://api.openai.com", &format!("https://{here}")),
        "production.conf" => shipped
            .replace("proxy_pass http://openai_api;", "")
            .replace("# proxy_pass https", "proxy_pass https"),
        "routes.conf" => shipped.replace("openai http://openai;", "openai https://openai;"),
        "pools.conf" => shipped.replace("proxy_pass http://", "proxy_pass https://"),
        _ => shipped.replace("https://api.openai.com", &format!("https://{here}")),
    };
    shipped.replace("/etc/ssl/certs/ca-certificates.crt", &trusted)
}

/// The upstream has to prove that it is api.openai.com, and only then gets a key.
#[test]
fn the_lines_for_openai_verify_the_upstream() {
    let authority = Authority::create();
    for name in [
        "minimal.conf",
        "production.conf",
        "pools.conf",
        "routes.conf",
        "conf.d/openai.conf",
    ] {
        for (host, status) in [("api.openai.com", 200), ("api.example.com", 502)] {
            let certificate = authority.issue(host);
            let tls = Tls::from_pem_files(&certificate.cert, &certificate.key).expect("a pair");
            let mock = Server::new(Scenario::new().delay(Duration::ZERO)).tls(tls);
            let mock = mock.start().expect("the mock starts");
            let shipped = for_openai(name, mock.addr().port(), &authority.cert());
            let running = furnish(shipped).start();
            let url = format!("http://127.0.0.1:{}/v1/chat/completions", running.port());
            let call = Call::json(url, r#"{"model":"gpt-4o","stream":true}"#);
            let answer = call.token(Shipped::TOKEN).send();
            assert_eq!(answer.status, status, "{name}, {host}: {}", answer.text());
            let is_trusted = status == 200;
            assert_eq!(
                mock.stats().totals.requests > 0,
                is_trusted,
                "{name}, {host}"
            );
            if !is_trusted {
                running.line_of("error.log", "does not match");
            }
            running.stop();
        }
    }
}

/// The program of the guide that locks a key.
#[test]
fn the_example_of_a_service_locks_and_releases() {
    let mut programs = Example::all("python").into_iter();
    let program = programs.find(|program| program.text.contains("/v1/lock/acquire"));
    let running = Shipped::prepare("run.conf", 1).start();
    let output = Command::new("python3")
        .args(["-c", &program.expect("a program").text])
        .env(
            "OPENAI_SERVICE_URL",
            format!("http://127.0.0.1:{}", running.port()),
        )
        .env("SERVICE_TOKEN", Shipped::TOKEN)
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let event = running.line_of("logs/events.json", "lock_released");
    assert!(event.contains("\"tokens_used\":150"), "{event}");
    assert!(event.contains("\"lock_status\":\"released\""), "{event}");
    running.stop();
}

fn conf_d(name: &str) -> String {
    fs::read_to_string(workspace().join("nginx/conf.d").join(name)).expect("the file")
}

#[test]
fn the_files_for_conf_d_load() {
    let openai = conf_d("openai.conf");
    load("openai.conf", &whole(&openai));

    let stored = openai.replace("openai_pool main {", "openai_pool main {\n    store locks;");
    let redlock = conf_d("openai-redlock.conf");
    load("openai-redlock.conf", &whole(&[redlock, stored].concat()));

    // The location of `openai.conf` is replaced by the one in the comment.
    let providers = conf_d("openai-providers.conf");
    let (_, location) = providers
        .split_once("# location /v1/ {")
        .expect("a location");
    let location: Vec<&str> = location
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .collect();
    let (before, _) = openai
        .split_once("    location /v1/ {")
        .expect("a location");
    let merged = format!(
        "{providers}\n{before}location /v1/ {{{}\n}}\n",
        location.join("\n")
    );
    load("openai-providers.conf", &whole(&merged));
}
