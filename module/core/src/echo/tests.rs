use super::*;

#[test]
fn what_looks_like_a_secret_is_masked() {
    for (text, shown) in [
        ("\"sk-abc\" is a duplicate", "\"***\" is a duplicate"),
        ("no pool \"SK-ABC\"", "no pool \"***\""),
        ("file:sk-proj/a+b/c=: No such file", "file:*** No such file"),
        ("file:/etc/keys/sk-a/b", "file:/etc/keys/***"),
        ("id=sk-abc", "id=***"),
        ("id=a@sk-abc&x", "id=a@***"),
        ("*sk-abc", "****"),
        ("AGE-SECRET-KEY-1QQ", "***"),
        (
            "invalid value \"0123456789abcdef0123456789abcdef\"",
            "invalid value \"***\"",
        ),
        ("6f9619ff-8b86-d011-b42d-00cf4fc964ff", "***"),
        ("dGhpcyBpcyBhIHBhc3N3b3Jk/MTIz", "***"),
        ("/run/dGhpcyBpcyBhIHBhc3N3b3Jk/x", "/run/***"),
        ("qwertzuiopasdfghjklyxcvbnmqwertzuiopasdfghjkl", "***"),
        (
            "\"https://user:pa/ss@host/v1\" is no URL",
            "\"https://***@host/v1\" is no URL",
        ),
        (
            "redis://:hunter2@10.0.0.1:6379/0",
            "redis://***@10.0.0.1:6379/0",
        ),
        ("https://hunter2@host", "https://***@host"),
        ("user:hunter2@host:80", "***@host:80"),
        ("http://u:p@host/?key=sk-abc", "http://***@host/?key=***"),
        (
            "http://host/?api_key=hunter2&a=b",
            "http://host/?api_key=***",
        ),
        ("password=hunter2", "password=***"),
        ("tls_password=hunter2", "tls_password=***"),
    ] {
        assert_eq!(without_secrets(text), shown);
    }
}

#[test]
fn everything_else_is_shown() {
    for text in [
        "",
        "openai: no pool \"production-eu-west-1-embeddings\"",
        "\"gpt-4o-realtime-preview-2024-12-17\" is a duplicate",
        "invalid target \"pool@upstream:8080\", it must be POOL or POOL@UPSTREAM",
        "meta-llama/Llama-3.1-8B-Instruct",
        "invalid regular expression \"~*^(llama|qwen)\": no",
        "/etc/nginx/keys/main.keys: No such file or directory (os error 2)",
        "env:PRIMARY_OPENAI_API_KEY holds no key",
        "an upstream has 1 to 128 of the characters A-Z a-z 0-9 . _ - : [ ]",
        "client app: priority: a number from -1000 to 1000 expected",
        "must be env:NAME or file:PATH",
        "key: sk- is not enough",
        "task-force, disk-1",
        "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" must have 1 to 64 bytes",
        "\"tokens=1000000/day\" stands twice",
        "\"https://api.openai.com/v1/models?limit=1\"",
        "token: is unknown",
        "größe",
    ] {
        assert_eq!(without_secrets(text), text);
        assert_eq!(message(text, &[]), text);
    }
}

#[test]
fn a_variable_is_named_unless_it_may_be_the_secret() {
    assert_eq!(variable("REDIS_PASSWORD_2"), "REDIS_PASSWORD_2");
    assert_eq!(variable("hunter2"), "***");
    assert_eq!(variable("Redis"), "***");
}

#[test]
fn a_quoted_argument_is_masked_as_a_whole() {
    let words = ["key", "sk-abc def", "file:sk-x y/z"];
    let text = "key: \"sk-abc def\" is none; file:sk-x y/z: not there";
    let shown = "key: \"***\" is none; file:***: not there";
    assert_eq!(message(text, &words), shown);
}

#[test]
fn a_message_is_one_line() {
    assert_eq!(
        message("\"a\nb\r\t\u{1b}[31m\u{7f}\u{85}\u{202e}\" no", &[]),
        "\"a\\nb\\r\\t\\u{1b}[31m\\u{7f}\\u{85}\\u{202e}\" no"
    );
    assert_eq!(message("x\nsk-abc", &["d", "x\nsk-abc"]), "***");
}

/// For any text around a key, the message is one line and does not contain the key.
#[test]
fn no_key_is_told_in_whatever_stands_around_it() {
    let around = [
        "", "\"", ":", "=", "/", "@", "\n", " ", "é", "://", "#", "?a=", "\\",
    ];
    for before in around {
        for after in around {
            let value = format!("{before}sk-{after}k3y{after}");
            let shown = message(&value, &["d", &value]);
            assert!(!shown.contains("\n"));
            let key = format!("{before}sk-k3y{after}");
            let shown = message(&format!("no \"{key}\" here"), &["d", &key]);
            assert!(!shown.contains("k3y"), "{key:?}: {shown}");
        }
    }
}
