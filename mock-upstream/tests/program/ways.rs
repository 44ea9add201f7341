//! Every fault, by each of the four ways to ask for it: flag, scenario file, admin call, header.

use std::time::Duration;

use serde_json::Value;

use crate::capture::Capture;
use crate::start::Program;
use crate::wire::{CHAT, STREAM};

const ASK: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"what was asked"}]}"#;

type Check = fn(&Capture);

/// Settings, whether a stream is asked for, and what is seen.
const FAULTS: &[(&str, bool, Check)] = &[
    ("status=503", true, |seen| {
        assert_eq!(seen.status, 503);
        assert_eq!(seen.json()["error"]["type"], "server_error");
    }),
    ("error=insufficient_quota", true, |seen| {
        assert_eq!(seen.status, 429);
        assert_eq!(seen.json()["error"]["code"], "insufficient_quota");
        assert_eq!(seen.header("retry-after"), None);
    }),
    (
        "status=429 retry-after=1500ms should-retry=false",
        true,
        |seen| {
            assert_eq!(seen.json()["error"]["code"], "rate_limit_exceeded");
            assert_eq!(seen.header("retry-after-ms"), Some("1500"));
            assert_eq!(seen.header("retry-after"), Some("2"));
            assert_eq!(seen.header("x-should-retry"), Some("false"));
        },
    ),
    ("header-delay=40ms", true, |seen| {
        let reported: u64 = seen
            .header("openai-processing-ms")
            .and_then(|ms| ms.parse().ok())
            .expect("ms");
        assert!(reported >= 40);
        whole(seen);
    }),
    ("first-token=40ms", true, |seen| {
        assert!(seen.elapsed >= Duration::from_millis(40));
        whole(seen);
    }),
    ("delay=20ms", true, |seen| {
        assert!(seen.elapsed >= Duration::from_millis(40));
        whole(seen);
    }),
    ("delay=normal(20ms,1ms)", true, |seen| {
        assert!(seen.elapsed >= Duration::from_millis(30));
        whole(seen);
    }),
    ("stall-after=2 stall=40ms", true, |seen| {
        assert!(seen.elapsed >= Duration::from_millis(40));
        whole(seen);
    }),
    ("reset-after=0", true, |seen| {
        assert_eq!((seen.status, seen.reset), (0, true));
    }),
    ("reset-after=2", true, |seen| {
        assert!(seen.reset && !seen.ended);
        assert_eq!((seen.status, seen.events().len()), (200, 2));
    }),
    ("close-after=0", true, |seen| {
        assert_eq!((seen.status, seen.reset), (0, false));
    }),
    ("close-after=2", true, |seen| {
        assert!(!seen.reset && !seen.ended);
        assert_eq!((seen.status, seen.events().len()), (200, 2));
    }),
    ("error-after=2", true, |seen| {
        let events = seen.events();
        assert_eq!((seen.status, events.len(), seen.ended), (200, 3, true));
        let error: Value = serde_json::from_str(&events[2]).expect("JSON");
        assert_eq!(error["error"]["type"], "server_error");
    }),
    ("error-after=1 error=rate_limit_exceeded", true, |seen| {
        let error: Value = serde_json::from_str(&seen.events()[1]).expect("JSON");
        assert_eq!(error["error"]["code"], "rate_limit_exceeded");
    }),
    ("malformed-after=1", true, |seen| {
        let events = seen.events();
        let broken = |event: &&String| serde_json::from_str::<Value>(event).is_err();
        let broken: Vec<&String> = events.iter().filter(broken).collect();
        assert_eq!(broken, [&events[1], "[DONE]"]);
        assert_eq!((events.len(), seen.ended), (6, true));
    }),
    ("split=1", true, |seen| {
        assert!(seen.pieces.iter().all(|piece| piece.len() == 1));
        whole(seen);
    }),
    ("split=100", false, |seen| {
        assert_eq!(
            seen.json()["choices"][0]["message"]["content"],
            "powered by openai"
        );
    }),
    ("huge-chunk=300000", true, |seen| {
        let longest = seen.pieces.iter().map(Vec::len).max();
        assert!(longest.is_some_and(|length| length > 300_000));
        assert!(seen.said().ends_with("x powered by openai"));
    }),
    ("no-done=true", true, |seen| {
        assert!(seen.ended && !seen.text().contains("[DONE]"));
        assert_eq!(seen.said(), "powered by openai");
    }),
    ("gzip=true", true, |seen| {
        assert_eq!(seen.header("content-encoding"), Some("gzip"));
        assert!(seen.gunzipped().ends_with("data: [DONE]\n\n"));
        assert!(seen.ended);
    }),
    ("gzip=true", false, |seen| {
        assert_eq!(seen.header("content-encoding"), Some("gzip"));
        assert!(seen.gunzipped().contains("powered by openai"));
    }),
    ("wrong-length=7", false, |seen| {
        assert_eq!(promised(seen), seen.body().len() + 7);
        assert_eq!(seen.json()["object"], "chat.completion");
    }),
    ("wrong-length=-7", false, |seen| {
        assert_eq!(promised(seen), seen.body().len() - 7);
        assert_eq!(seen.json()["object"], "chat.completion");
    }),
    ("wrong-length=7", true, |seen| {
        assert_eq!(promised(seen), seen.body().len() + 7);
        assert_eq!(seen.said(), "powered by openai");
    }),
    ("words=5", true, |seen| {
        assert_eq!(seen.said(), "powered by openai powered by ")
    }),
    ("text='one two'", true, |seen| {
        assert_eq!(seen.said(), "one two")
    }),
    ("echo=true", false, |seen| {
        assert_eq!(
            seen.json()["choices"][0]["message"]["content"],
            "what was asked"
        );
    }),
    ("finish-reason=content_filter", false, |seen| {
        assert_eq!(seen.json()["choices"][0]["finish_reason"], "content_filter");
    }),
    ("tool-calls=2 tool-arguments='{\"a\": 1}'", false, |seen| {
        let choice = &seen.json()["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert_eq!(
            choice["message"]["tool_calls"][1]["function"]["arguments"],
            "{\"a\": 1}"
        );
    }),
    ("fields=minimal", true, |seen| {
        assert!(!seen.text().contains("system_fingerprint"))
    }),
    ("obfuscation=true", true, |seen| {
        assert!(seen.text().contains("\"obfuscation\":"))
    }),
    ("service-tier=flex", false, |seen| {
        assert_eq!(seen.json()["service_tier"], "flex")
    }),
    ("always-stream=true", false, whole),
    ("strict=true", false, |seen| {
        assert_eq!(seen.status, 401);
        assert_eq!(seen.json()["error"]["code"], Value::Null);
    }),
    ("rate-headers=true", false, |seen| {
        assert!(seen.header("x-ratelimit-remaining-tokens").is_some());
        assert_eq!(seen.status, 200);
    }),
    ("deny-token=gpt-secret", false, |seen| {
        assert_eq!(seen.json()["error"]["code"], "forbidden_token");
    }),
];

fn whole(seen: &Capture) {
    assert_eq!(seen.said(), "powered by openai");
    assert!(seen.text().ends_with("data: [DONE]\n\n") && seen.ended);
}

fn promised(seen: &Capture) -> usize {
    let length = seen
        .header("content-length")
        .and_then(|length| length.parse().ok());
    length.expect("a length")
}

/// Names and values; one with a space is quoted by `'`.
fn pairs(settings: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = settings;
    while let Some((name, after)) = rest.trim_start().split_once('=') {
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a quote"),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        pairs.push((name.to_owned(), value.to_owned()));
        rest = after;
    }
    pairs
}

fn ask(program: &Program, stream: bool, headers: &[(&str, &str)]) -> Capture {
    let body = if stream { STREAM } else { ASK };
    let secret = ("x-other", "gpt-secret");
    let headers: Vec<_> = headers.iter().copied().chain([secret]).collect();
    Capture::of(program.address, "POST", CHAT, &headers, body)
}

/// What has been asked for once is over after that.
fn once(program: &Program, stream: bool, check: Check) {
    check(&ask(program, stream, &[]));
    let after = ask(program, true, &[]);
    whole(&after);
}

#[test]
fn by_flag() {
    for (settings, stream, check) in FAULTS {
        let rule = format!("times=1 {settings}");
        let program = Program::with(&["--delay", "0", "--threads", "1", "--fault", &rule]);
        once(&program, *stream, *check);
    }
}

#[test]
fn by_scenario_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("scenario.toml");
    for (settings, stream, check) in FAULTS {
        let mut text = "delay = 0\n[[fault]]\ntimes = 1\n".to_owned();
        for (name, value) in pairs(settings) {
            text.push_str(&format!("{name} = '''{value}'''\n"));
        }
        std::fs::write(&path, text).expect("a file");
        let path = path.to_str().expect("UTF-8");
        let program = Program::with(&["--scenario", path, "--threads", "1"]);
        once(&program, *stream, *check);
    }
}

#[test]
fn by_admin_call() {
    let program = Program::with(&["--delay", "0", "--threads", "1"]);
    for (settings, stream, check) in FAULTS {
        let mut fault = serde_json::json!({"times": 1});
        for (name, value) in pairs(settings) {
            fault[name] = value.into();
        }
        let url = "/__mock/faults";
        let added = Capture::of(program.address, "POST", url, &[], &fault.to_string());
        assert_eq!(added.status, 200, "{}", added.text());
        once(&program, *stream, *check);
        let removed = Capture::of(program.address, "DELETE", url, &[], "");
        assert_eq!(removed.json()["faults"], serde_json::json!([]));
    }
}

#[test]
fn by_header() {
    let program = Program::with(&["--delay", "0", "--threads", "1"]);
    for (settings, stream, check) in FAULTS {
        let pairs = pairs(settings);
        let headers = pairs
            .iter()
            .map(|(name, value)| (format!("X-Mock-{name}"), value));
        let headers: Vec<_> = headers.collect();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        check(&ask(&program, *stream, &headers.collect::<Vec<_>>()));
    }
    whole(&ask(&program, true, &[]));
}

#[test]
fn headers_count_by_scope() {
    let program = Program::with(&["--delay", "0"]);
    let statuses = |scope: &str| {
        let ask = || {
            let headers = [
                ("X-Mock-Status", "500"),
                ("X-Mock-Times", "2"),
                ("X-Mock-Scope", scope),
            ];
            ask(&program, true, &headers).status
        };
        [ask(), ask(), ask()]
    };
    assert_eq!(statuses("one"), [500, 500, 200]);
    assert_eq!(statuses("two"), [500, 500, 200]);
    assert_eq!(statuses("one"), [200, 200, 200]);
    let reset = Capture::of(program.address, "POST", "/__mock/reset", &[], "");
    assert_eq!(reset.status, 200);
    assert_eq!(statuses("one"), [500, 500, 200]);
}
