//! Mistakes in `openai_upstream`.

use std::fmt::Write;

use super::{assert_refused, plan};

#[track_caller]
fn assert_upstream_refused(body: &str, says: &[&str]) {
    let plan = plan().http(&format!("openai_upstream one {{ {body} }}"));
    let says = [&["openai_upstream", "\"one\""], says].concat();
    assert_refused(&plan, &says);
}

#[test]
fn upstreams_that_cannot_be() {
    let twice = plan().http("openai_upstream one { } openai_upstream one { }");
    assert_refused(&twice, &["openai_upstream", "\"one\"", "duplicate"]);
    let long = "x".repeat(65);
    let too_long = plan().http(&format!("openai_upstream {long} {{ }}"));
    assert_refused(&too_long, &["openai_upstream", &long, "64 bytes"]);
    assert_refused(&plan().http("openai_upstream one;"), &["openai_upstream"]);
    assert_refused(&plan().http("openai_upstream { }"), &["openai_upstream"]);
    assert_refused(
        &plan().server("openai_upstream one { }"),
        &["openai_upstream"],
    );
    assert_upstream_refused("error 50%;", &["\"error\""]);
    let mut many = String::new();
    for n in 0..65 {
        writeln!(many, "openai_upstream u{n} {{ }}").expect("a String takes it");
    }
    assert_refused(&plan().http(&many), &["openai_upstream", "\"u64\"", "64"]);
}

#[test]
fn values_of_upstreams_that_cannot_be() {
    for (line, says) in [
        ("errors 0%;", ["errors", "\"0%\""]),
        ("errors 101%;", ["errors", "\"101%\""]),
        ("errors 50;", ["errors", "\"50\""]),
        ("errors on;", ["errors", "\"on\""]),
        ("errors;", ["errors", ""]),
        ("errors 1% 2%;", ["errors", ""]),
        ("errors off; errors 1%;", ["errors", "duplicate"]),
        ("failures 0;", ["failures", "\"0\""]),
        ("failures some;", ["failures", "\"some\""]),
        ("failures;", ["failures", "one argument"]),
        ("failures 1; failures off;", ["failures", "duplicate"]),
        ("requests 0;", ["requests", "\"0\""]),
        ("requests many;", ["requests", "\"many\""]),
        ("requests 1000001;", ["requests", "\"1000001\""]),
        ("window 999ms;", ["window", "\"999ms\""]),
        ("window 2h;", ["window", "\"2h\""]),
        ("window ever;", ["window", "\"ever\""]),
        ("open 99ms;", ["open", "\"99ms\""]),
        ("open 5s max=4s;", ["open", "max=4s"]),
        ("open 5s max=2h;", ["open", "\"2h\""]),
        ("open 5s most=6s;", ["open", "\"most=6s\""]),
        ("open;", ["open", ""]),
        ("open 1s max=2s 3s;", ["open", ""]),
        ("open 1s; open 2s;", ["open", "duplicate"]),
        ("probe;", ["probe", "URL"]),
        ("probe api.openai.com;", ["probe", "api.openai.com"]),
        ("probe ftp://127.0.0.1;", ["probe", "ftp://127.0.0.1"]),
        ("probe http://a:b@127.0.0.1;", ["probe", "an http://"]),
        (
            "probe http://no.such.host.invalid;",
            ["probe", "host not found"],
        ),
        ("probe http://127.0.0.1 often;", ["probe", "\"often\""]),
        (
            "probe http://127.0.0.1 interval=99ms;",
            ["probe: interval", "\"99ms\""],
        ),
        (
            "probe http://127.0.0.1 interval=1s interval=1s;",
            ["probe", "duplicate"],
        ),
        ("probe http://127.0.0.1 trusted=a;", ["probe", "https://"]),
        (
            "probe https://127.0.0.1 trusted=absent.crt;",
            ["probe", "absent.crt"],
        ),
        (
            "probe http://127.0.0.1; probe http://127.0.0.2;",
            ["probe", "duplicate"],
        ),
        ("probes 0;", ["probes", "\"0\""]),
        ("probes 1001;", ["probes", "\"1001\""]),
    ] {
        assert_upstream_refused(line, &says);
    }
}

#[test]
fn sound_upstreams_are_accepted() {
    for body in [
        "",
        "errors 50%; requests 20; window 10s; open 5s; probes 1;",
        "errors off;",
        "failures 1;",
        "errors off; failures 3;",
        "failures off;",
        "open 1h;",
        "open 100ms max=100ms;",
        "probe http://127.0.0.1:9;",
        "probe https://[::1]:8443/v1/models?limit=1 interval=1h;",
    ] {
        let test = plan()
            .http(&format!("openai_upstream one {{ {body} }}"))
            .check();
        assert!(test.ok, "{body}: {}", test.output);
    }
}
