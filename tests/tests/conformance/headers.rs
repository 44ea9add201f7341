//! Headers that the shipped configurations add to responses, and the limits of production.

use e2e::{Call, RawUpstream, json_lines};
use serde_json::{Value, json};

use crate::bed::{ADMIN, Bed, CHAT, COMPLETIONS, Config, SERVICE};
use crate::case::{As, Case, check};

on_each_configuration!(
    responses_have_an_id_and_a_time,
    an_upstream_does_not_choose_a_location,
    health_is_public_and_its_access_log_is_as_configured,
);

fn responses_have_an_id_and_a_time(config: Config) {
    let bed = Bed::start(config);
    let cases = [
        Case::post(COMPLETIONS, CHAT).by(As::Service),
        Case::get("/health"),
        Case::get("/v1/stats").by(As::Service),
        Case::get("/metrics").by(As::Admin),
        Case::get("/v1/models").error(401, "invalid_request_error", "invalid_api_key"),
    ];
    let cases = cases.map(|case| {
        case.answers("x-request-id", "<any>")
            .answers("x-gateway-request-id", "<any>")
            .answers("x-process-time", "<any>")
    });
    check(&bed, &cases);
    let answer = bed
        .chat(CHAT)
        .header("x-request-id", "conformance-7")
        .send();
    assert_eq!(answer.header("x-gateway-request-id"), Some("conformance-7"));
    let seconds = answer.header("x-process-time").map(str::parse::<f64>);
    assert!(
        matches!(seconds, Some(Ok(seconds)) if seconds < 60.0),
        "{seconds:?}"
    );
    bed.end();
}

/// nginx would serve what `X-Accel-Redirect` names, with the rights of the gateway itself.
fn an_upstream_does_not_choose_a_location(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| shipped);
    let client = bed.chat(CHAT).spawn();
    upstream.accept().send(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Accel-Redirect: /health\r\nContent-Length: 2\r\n\r\n{}",
    );
    let answer = client.join().expect("an answer").expect_status(200);
    assert_eq!(answer.text(), "{}");
    assert_eq!(answer.header("x-accel-redirect"), None);
    bed.end();
}

fn health_is_public_and_its_access_log_is_as_configured(config: Config) {
    let bed = Bed::start(config);
    for _ in 0..3 {
        let health = bed.call("GET", "/health").send().expect_status(200);
        assert_eq!(health.json()["status"], "healthy");
    }
    bed.get_as_admin("/system/info");
    bed.access_log("the request after them", |line| {
        line["path"] == "/system/info"
    });
    let lines = json_lines(&bed.read(config.access_log()));
    let logged = lines.iter().any(|line: &Value| line["path"] == "/health");
    assert_eq!(logged, config == Config::MakeRun);
    bed.end();
}

/// Where production redirects to HTTPS.
fn plain_port(bed: &Bed) -> u16 {
    let text = bed.read("nginx.conf");
    let (before, _) = text.split_once("return      308").expect("a redirect");
    let (_, port) = before.rsplit_once("listen 127.0.0.1:").expect("a port");
    let port = port.split(';').next().unwrap_or_default();
    port.parse().expect("a port")
}

#[test]
fn production_redirects_to_https() {
    let bed = Bed::start(Config::Production);
    let url = format!("http://127.0.0.1:{}/v1/models?limit=1", plain_port(&bed));
    let answer = Call::new("GET", url)
        .header("host", "gateway.example.com")
        .send();
    assert_eq!(answer.status, 308);
    let location = answer.header("location");
    assert_eq!(
        location,
        Some("https://gateway.example.com/v1/models?limit=1")
    );
    bed.end();
}

/// Once each, whether the response is nginx's, the gateway's, a page's or the upstream's.
#[test]
fn production_adds_security_headers() {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(Config::Production, &upstream, |shipped| shipped);
    let client = bed.chat(CHAT).spawn();
    upstream.accept().send(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\
         Strict-Transport-Security: max-age=15552000\r\nContent-Length: 2\r\n\r\n{}",
    );
    let answers = [
        (client.join().expect("an answer"), "max-age=15552000"),
        (bed.call("GET", "/nowhere").send(), "max-age=31536000"),
        (bed.call("GET", "/v1/models").send(), "max-age=31536000"),
        (bed.call("GET", "/status").send(), "max-age=31536000"),
        (bed.call("GET", "/docs").send(), "max-age=31536000"),
        (
            bed.call("GET", "/v1/stats").token(ADMIN).send(),
            "max-age=31536000",
        ),
    ];
    for (answer, hsts) in &answers {
        for (name, value) in [
            ("strict-transport-security", *hsts),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            let fields = answer.headers.iter().filter(|(other, _)| other == name);
            let values: Vec<&str> = fields.map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, [value], "{name}: {:?}", answer.headers);
        }
    }
    bed.end();
}

#[test]
fn production_limits_requests_per_address() {
    let bed = Bed::with(Config::Production, |shipped| {
        shipped
            .replace("rate=50r/s", "rate=1r/m")
            .replace("burst=200", "burst=2")
    });
    for _ in 0..3 {
        bed.chat(CHAT).send().expect_status(200);
    }
    let refused = Case::post(COMPLETIONS, CHAT).by(As::Service).error(
        429,
        "rate_limit_exceeded",
        "rate_limit_exceeded",
    );
    check(
        &bed,
        &[
            refused,
            Case::get("/health"),
            Case::get("/metrics").by(As::Admin),
        ],
    );
    bed.end();
}

/// With the lines that the configuration has as comments.
#[test]
fn production_behind_a_balancer_sees_the_address_of_the_client() {
    let bed = Bed::with(Config::Production, |shipped| {
        shipped
            .replace(
                "# set_real_ip_from  10.0.0.0/8;",
                "set_real_ip_from 127.0.0.1;",
            )
            .replace("# real_ip_header ", "real_ip_header ")
            .replace("# real_ip_recursive ", "real_ip_recursive ")
            .replace("rate=50r/s", "rate=1r/m")
            .replace("burst=200 ", "")
            .replace("nodelay", "")
    });
    let send = |address: &str| {
        let call = bed.chat(CHAT).header("x-forwarded-for", address);
        call.header("x-request-id", address).send().status
    };
    let seen = ["203.0.113.7", "203.0.113.8", "203.0.113.7"].map(send);
    assert_eq!(seen, [200, 200, 429]);
    let line = bed.access_log("the request", |line| line["request_id"] == "203.0.113.8");
    assert_eq!(line["remote_addr"], json!("203.0.113.8"));
    assert!(!bed.read("error.log").contains(SERVICE));
    bed.end();
}
