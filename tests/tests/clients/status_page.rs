//! The status page, as a person sees it in a browser.

use e2e::{Browser, Call, Plan, Redis, closed_port, wait_until};
use mock_upstream::Scenario;
use serde_json::{Value, json};

use crate::keys;
use crate::locks::{ADMIN, Bed, OTHER, Store, TOKEN, shared_plan};

/// Prices of two models.
const PRICES: &str = r#"{"date":"2025-07-01","models":{"gpt-4o": {"input": 2.5, "output": 10}}}"#;

/// A gateway whose streams last until they are left.
fn slow(plan: Plan) -> Plan {
    let scenario = Scenario::from_toml("delay = \"50ms\"\nwords = 100000").expect("a scenario");
    plan.scenario(scenario)
}

/// Opens the page, and signs in by the keyboard.
fn signed_in(bed: &Bed) -> Browser {
    let mut browser = Browser::start();
    browser.resize(1280, 900);
    browser.open(&bed.gateway.url("/status"));
    sign_in(&mut browser, ADMIN);
    browser.wait("!document.querySelector('#content').hidden");
    browser
}

/// The field has the focus: nothing needs a pointer.
fn sign_in(browser: &mut Browser, token: &str) {
    browser.wait("document.activeElement.id === 'token'");
    browser.type_text(token);
    browser.press("Enter");
}

fn status(bed: &Bed) -> Value {
    let call = bed.gateway.get("/v1/status").token(ADMIN);
    call.send().expect_status(200).json()
}

/// Nothing was refused, nothing went wrong in the page.
#[track_caller]
fn assert_clean(browser: &mut Browser) {
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_person_signs_in_and_out_by_the_keyboard() {
    let bed = Bed::new(Store::Shm, 1);
    let mut browser = Browser::start();
    browser.open(&bed.gateway.url("/status"));
    for (token, why) in [("wrong", "not known"), (TOKEN, "not an administrator")] {
        sign_in(&mut browser, token);
        browser.wait_text("#trouble", why);
        assert_eq!(browser.eval("document.querySelector('#token').value"), "");
        assert_eq!(browser.eval("sessionStorage.length"), 0);
    }
    sign_in(&mut browser, ADMIN);
    browser.wait_text("#summary", "No problems");
    assert_eq!(browser.eval("document.activeElement.id"), "summary");
    assert_eq!(browser.text("#trouble"), "");
    // It outlives a reload of the page, and nothing else.
    browser.open(&bed.gateway.url("/status"));
    browser.wait_text("#summary", "No problems");
    assert_eq!(browser.eval("localStorage.length"), 0);
    assert_eq!(browser.eval("document.cookie"), "");
    browser.eval("document.querySelector('#pause').focus()");
    browser.press("Tab");
    assert_eq!(browser.eval("document.activeElement.id"), "sign-out");
    assert_ne!(
        browser.eval("getComputedStyle(document.activeElement).outlineStyle"),
        "none"
    );
    browser.press("Enter");
    browser.wait("document.activeElement.id === 'token'");
    assert_eq!(browser.eval("sessionStorage.length"), 0);
    assert!(!browser.text("body").contains("main"), "nothing is left");
    assert_clean(&mut browser);
}

#[test]
fn it_shows_what_happens_as_it_happens() {
    let bed = Bed::with(Store::Shm, 1, "", "", slow);
    let mut browser = signed_in(&bed);
    browser.wait_text("#summary", "No problems");
    assert!(browser.text("#locks tbody").is_empty());
    browser.eval("document.querySelector('#keys tbody tr').mark = 'the same'");
    let mut stream = bed.gateway.chat().token(OTHER).events();
    stream.next().expect("a first event");
    let waits = bed.gateway.chat().token(TOKEN).spawn_events();
    browser.wait_text("#locks tbody", "batch");
    browser.wait_text("#waiters tbody", "labeling");
    browser.wait_text("#problems", "1 request waits for pool main");
    browser.wait_text("#keys tbody", "in use");
    // Rows that were there are changed, not made anew: nothing flickers, or loses the focus.
    assert_eq!(
        browser.eval("document.querySelector('#keys tbody tr').mark"),
        "the same"
    );
    drop(stream);
    drop(waits.join().expect("a stream"));
    browser.wait_text("#summary", "No problems");
    browser.wait_text("#services tbody", "batch");
    browser.wait("document.querySelector('#locks tbody').childElementCount === 0");
    browser.wait_text("#keys tbody", "ready");
    assert_clean(&mut browser);
}

#[test]
fn names_are_text() {
    let bed = Bed::new(Store::Shm, 1);
    let evil = "<img src=x onerror=\"document.title='evil'\">";
    let lock = bed.lock(json!({
        "service_name": evil, "request_id": "</td>", "template": "<script>document.title='evil'</script>", evil: "&lt;b&gt;",
        "dimension": "\u{202e}\"><svg/onload=evil()>".to_owned() + &"x".repeat(200),
    }));
    let mut browser = signed_in(&bed);
    browser.wait_text("#locks tbody", evil);
    browser.wait_text("#locks tbody", "&lt;b&gt;");
    browser.wait_text("#locks tbody", "<script>");
    assert_eq!(
        browser.eval("document.querySelectorAll('img, svg, table script, table b').length"),
        0
    );
    for width in [320, 390, 768, 1280] {
        browser.resize(width, 800);
        let wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.eval(wide), 0, "at {width}");
    }
    let title = browser.eval("document.title");
    assert!(!title.to_string().contains("evil"), "{title}");
    assert_clean(&mut browser);
    // If it were markup all the same, the policy would stop it.
    browser.eval("document.body.insertAdjacentHTML('beforeend', \"<img src=x onerror='document.title = 1'>\")");
    wait_until("the page complains", || browser.complaints().len() >= 2);
    assert_eq!(browser.eval("document.title"), title);
    bed.force_release(&lock).expect_status(200);
}

/// Who has many keys wants to see those that are not as they should be.
#[test]
fn idle_keys_are_shown_on_demand() {
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        let faults = keys::key_is(1, "revoked");
        let scenario = Scenario::from_toml(&format!("delay = 0\n{faults}"));
        plan.pool("main", &keys::keys(30))
            .scenario(scenario.expect("a scenario"))
    });
    bed.gateway.chat().token(TOKEN).send().expect_status(200);
    let mut browser = signed_in(&bed);
    browser.wait_text("#problems", "Key k1 of main is invalid");
    let rows = "document.querySelectorAll('#keys tbody tr').length";
    assert_eq!(browser.eval(rows), 1);
    assert_eq!(browser.text("#idle-count"), "29");
    browser.eval("document.querySelector('#idle').focus()");
    browser.press("Space");
    assert_eq!(browser.eval(rows), 30);
    assert_clean(&mut browser);
}

/// Who opens the page at night has not watched it before.
#[test]
fn an_upstream_that_fails_is_seen_at_first_sight() {
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        plan.serves("openai main; openai_next_key off;")
            .http("openai_upstream upstream { open 1h; }")
    });
    for _ in 0..5 {
        let call = bed.gateway.chat().token(TOKEN);
        let call = call.header("x-mock-status", "500");
        call.send().expect_status(500);
    }
    wait_until("all requests are counted", || {
        status(&bed)["pools"][0]["recent_failed"] == 5
    });
    let mut browser = signed_in(&bed);
    for text in [
        "The circuit of upstream is open: 5 of 5 attempts failed in the last minute.",
        "The gateway probes the upstream by itself.",
        "5 of 5 requests of pool main failed in the last minute.",
    ] {
        browser.wait_text("#problems", text);
    }
    assert_eq!(
        browser.eval("document.querySelector('#health').className"),
        "bad"
    );
    assert_clean(&mut browser);
}

/// What is not the present is not shown as if it were.
#[test]
fn it_says_when_it_does_not_know() {
    let bed = Bed::new(Store::Shm, 1);
    let mut browser = signed_in(&bed);
    browser.wait_text("#summary", "No problems");
    bed.gateway.quit();
    browser.wait_text("#trouble", "This data is out of date");
    assert_eq!(
        browser.eval("document.body.classList.contains('stale')"),
        true
    );
}

/// Every kind of trouble at once, on a page that can be read by ear and on a telephone.
#[test]
fn trouble_comes_first() {
    let mut nodes = Redis::group(3);
    let keys = format!("{} key sk-e2e-failover-0004 id=k4 slots=6;", keys::keys(3));
    let faults = [
        keys::key_is(1, "revoked"),
        keys::key_gets(2, "status = 429\nretry-after = \"3600s\""),
    ]
    .concat();
    let scenario = Scenario::from_toml(&format!("delay = \"50ms\"\nwords = 100000\n{faults}"));
    let plan = shared_plan(&nodes, &keys, "")
        .scenario(scenario.expect("a scenario"))
        .pool("azure", "key sk-e2e-azure-0001 id=azure-1;")
        .file("prices.json", PRICES)
        .http("openai_prices {dir}/prices.json;")
        .http("upstream one { server {upstream} max_fails=0; }")
        .http(&format!("upstream azure {{ server 127.0.0.1:{}; }}", closed_port()))
        .http("openai_upstream one {} openai_upstream azure { requests 2; open 1h max=1h; }")
        .server(&format!(
            "location /azure/ {{ openai azure@azure; openai_next_key off; rewrite ^ /v1/chat/completions break;
             {PROXIED} }}"
        ))
        .serves("openai main@one;")
        .proxied(PROXIED)
        .expect("connect() failed");
    let bed = Bed {
        gateway: plan.start(),
        nodes: vec![],
    };
    wait_until("the nodes are up", || {
        bed.get("/health").send().json()["status"] == "healthy"
    });
    let mut browser = signed_in(&bed);
    for n in 1..40 {
        let call = bed.gateway.chat().token([OTHER, TOKEN, TOKEN][n % 3]);
        let call = call.header("x-mock-words", &n.to_string());
        call.header("x-mock-delay", "0").send().expect_status(200);
    }
    let lock = bed.lock(json!({"request_id": "r-17", "dimension": "c_role",
        "content_type": "candidate", "estimated_duration": 900}));
    let mut streams = vec![];
    for token in [OTHER, TOKEN, TOKEN, OTHER, TOKEN, TOKEN] {
        let mut stream = bed.gateway.chat().token(token).events();
        stream.next().expect("a first event");
        streams.push(stream);
    }
    for _ in 0..3 {
        let body = r#"{"model":"gpt-4o","messages":[]}"#;
        let call = Call::json(bed.gateway.url("/azure/"), body).token(TOKEN);
        assert!(call.send().status >= 500);
    }
    let waits: Vec<_> = [OTHER, TOKEN, OTHER]
        .map(|token| bed.gateway.chat().token(token).spawn_events())
        .into();
    bed.gateway.wait_held(7, 3);
    nodes[2].kill();
    for problem in [
        "Key k1 of main is invalid",
        "Key k2 of main is rate limited",
        "Redis node",
        "The circuit of azure is open",
        "3 requests wait for pool main: 7 of 9 slots are held.",
        "failed in the last minute",
    ] {
        browser.wait_text("#problems", problem);
    }
    let first = browser.text("#keys tbody tr:first-child");
    assert!(first.contains("invalid"), "{first}");
    browser.wait("document.title.startsWith('(')");
    let heads = "[...document.querySelectorAll('thead th')].every((head) => head.scope === 'col')
                 && [...document.querySelectorAll('tbody th')].every((head) => head.scope === 'row')
                 && ['header', 'main', 'footer', 'h1'].every((name) => document.querySelectorAll(name).length === 1)";
    assert_eq!(browser.eval(heads), true);
    assert_eq!(browser.eval(CONTRASTS), json!([]));
    browser.picture("status-desktop");
    browser.resize(390, 844);
    browser.picture("status-phone");
    // A table stays one for who listens, though it looks like cards.
    let roles = browser.roles();
    for role in [
        "banner",
        "main",
        "contentinfo",
        "heading",
        "status",
        "table",
        "columnheader",
        "row",
        "rowheader",
        "cell",
    ] {
        assert!(roles.contains(role), "{role} is not among {roles:?}");
    }
    browser.resize(1280, 900);
    browser.prefer_dark();
    assert_eq!(browser.eval(CONTRASTS), json!([]));
    browser.picture("status-dark");
    assert_clean(&mut browser);
    bed.force_release(&lock).expect_status(200);
    drop(streams);
    for stream in waits {
        drop(stream.join().expect("a stream"));
    }
}

const PROXIED: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\";
                       proxy_pass http://$openai_upstream;";

/// The texts whose colours are too alike: below 4.5 to 1, by WCAG.
const CONTRASTS: &str = "(() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = parts(colour).slice(0, 3).map((part) => {
            const share = part / 255;
            return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const back = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (parts(colour)[3] !== 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const texts = [...document.querySelectorAll('body *')].filter((node) =>
        node.offsetParent && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
    return texts.filter((node) => {
        const [a, b] = [light(getComputedStyle(node).color), light(back(node))].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05) < 4.5;
    }).map((node) => node.outerHTML);
})()";
