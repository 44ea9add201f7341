//! The ids of a request: taken from the client or made, sent upstream, and reported to the client.

use e2e::{Answer, Exchange, Gateway, LogLine, Plan, RawClient, RawUpstream, post};

use crate::{failover, http2};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "tracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7\r\n";
const ID: &str = "7f9c2ba4-e88f-4bd7-9a3b-5f5e4dd50a41";

fn plan() -> Plan {
    Plan::new().location("openai_trace on;")
}

fn start(plan: Plan) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    (plan.upstream(upstream.address()).start(), upstream)
}

/// What goes upstream for a request with these header lines, and what the client gets.
#[track_caller]
fn exchange(gateway: &Gateway, upstream: &RawUpstream, lines: &str) -> (Exchange, Answer) {
    let mut client = gateway.connect();
    client.send(post(lines, "{}"));
    let mut exchange = upstream.accept();
    exchange.answer();
    let answer = client.answer().expect_status(200);
    (exchange, answer)
}

/// The trace and the span that went upstream, which must be in the log as well.
#[track_caller]
fn sent(exchange: &Exchange, line: &LogLine) -> (String, String) {
    let parent = exchange.header("traceparent").expect("a traceparent");
    let [version, trace, span, flags] = parent.split('-').collect::<Vec<_>>()[..] else {
        panic!("no traceparent: {parent}");
    };
    assert_eq!((version, flags), ("00", "01"), "{parent}");
    assert_eq!((trace, span), (&*line.trace_id, &*line.span_id));
    assert!(is_hex(trace, 32) && is_hex(span, 16), "{parent}");
    (trace.to_owned(), span.to_owned())
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it is an id that the gateway has made.
fn is_new_id(text: &str) -> bool {
    text.strip_prefix("req_").is_some_and(|hex| is_hex(hex, 32))
}

fn count(head: &str, name: &str) -> usize {
    let named = |line: &&str| line.to_ascii_lowercase().starts_with(name);
    head.lines().filter(named).count()
}

#[test]
fn a_trace_of_the_clients_goes_on_with_a_span_of_ours() {
    let (gateway, upstream) = start(plan());
    let lines = format!("Traceparent: {PARENT}\r\n{STATE}X-REQUEST-ID: {ID}\r\n");
    let (exchange, answer) = exchange(&gateway, &upstream, &lines);
    let line = &gateway.logged(1)[0];
    let (trace, span) = sent(&exchange, line);
    assert_eq!(trace, TRACE);
    assert_ne!(span, "b7ad6b7169203331");
    assert_eq!(count(&exchange.head, "traceparent:"), 1);
    assert!(exchange.head.contains(STATE.trim_end()));
    assert_eq!(exchange.header("x-request-id"), Some(ID));
    assert_eq!(count(&exchange.head, "x-request-id:"), 1);
    assert_eq!(line.request_id, ID);
    assert_eq!(answer.header("x-request-id"), Some(ID));
    assert_eq!(answer.header("x-gateway-request-id"), Some(ID));
}

#[test]
fn a_trace_is_begun_where_there_is_none_that_is_valid() {
    let (gateway, upstream) = start(plan());
    let mut traces = vec![];
    for lines in [
        String::new(),
        format!("traceparent: ff{}\r\n", &PARENT[2..]),
        format!("traceparent: {PARENT}-more\r\n"),
        format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n"),
        format!(
            "traceparent: {}\r\n",
            PARENT.replace(TRACE, &"0".repeat(32))
        ),
    ] {
        let lines = format!("{lines}{STATE}");
        let (exchange, _) = exchange(&gateway, &upstream, &lines);
        let line = gateway.logged(traces.len() + 1).pop().expect("a line");
        let (trace, _) = sent(&exchange, &line);
        assert!(trace != TRACE && !traces.contains(&trace), "{trace}");
        // It reports the trace that has been left.
        assert_eq!(exchange.header("tracestate"), None);
        assert_eq!(count(&exchange.head, "traceparent:"), 1);
        traces.push(trace);
    }
}

#[test]
fn a_request_id_is_made_where_the_clients_is_none_to_go_on() {
    let (gateway, upstream) = start(plan());
    let mut ids = vec![];
    for lines in [
        String::new(),
        "X-Request-ID: a b\r\n".to_owned(),
        "X-Request-ID: ${jndi:x}\r\n".to_owned(),
        format!("X-Request-ID: {}\r\n", "x".repeat(129)),
        format!("X-Request-ID: {ID}\r\nX-Request-ID: {ID}\r\n"),
    ] {
        let (exchange, answer) = exchange(&gateway, &upstream, &lines);
        let line = gateway.logged(ids.len() + 1).pop().expect("a line");
        let id = line.request_id;
        assert!(is_new_id(&id) && !ids.contains(&id), "{id}");
        assert_eq!(exchange.header("x-request-id"), Some(&*id));
        assert_eq!(count(&exchange.head, "x-request-id:"), 1);
        assert_eq!(answer.header("x-request-id"), Some(&*id));
        ids.push(id);
    }
}

fn named<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let fields = answer.headers.iter().filter(|(field, _)| field == name);
    fields.map(|(_, value)| &**value).collect()
}

#[test]
fn the_providers_own_id_stays_where_clients_look_for_it() {
    let gateway = plan().start();
    for call in [gateway.chat(), gateway.get("/v1/models")] {
        let answer = call.header("x-request-id", ID).send().expect_status(200);
        let [theirs] = named(&answer, "x-request-id")[..] else {
            panic!("{:?}", answer.headers);
        };
        assert!(theirs.starts_with("req_"), "{theirs}");
        assert_eq!(named(&answer, "x-gateway-request-id"), [ID]);
    }
}

#[test]
fn answers_of_the_gateways_own_report_the_id() {
    let (mut plan, token) = (plan(), "token-of-a-service");
    plan = plan
        .environment("SERVICE_TOKEN", token)
        .clients("client app env:SERVICE_TOKEN;")
        .http("openai_process_time_header on;")
        .server("location /v1/locks/ { openai_trace on; openai_api on; }")
        .server("location /v1/none { openai_trace on; openai main; return 404; }")
        .upstream(format!("127.0.0.1:{}", e2e::closed_port()));
    let gateway = plan.start();
    let wrong = gateway.chat().token("wrong");
    for (call, status) in [
        (wrong, 401),
        (gateway.chat().token(token), 502),
        (gateway.get("/v1/none").token(token), 404),
        (gateway.get("/v1/locks/active").token(token), 200),
        (gateway.get("/v1/locks/nowhere").token(token), 404),
    ] {
        let answer = call.header("x-request-id", ID).send().expect_status(status);
        assert_eq!(named(&answer, "x-request-id"), [ID], "{status}");
        assert_eq!(named(&answer, "x-gateway-request-id"), [ID]);
        assert_eq!(named(&answer, "x-process-time").len(), 1);
    }
    assert!(gateway.logged(5).iter().all(|line| line.request_id == ID));
    let mut client = gateway.connect();
    client.send(format!(
        "GET /v1/{} HTTP/1.1\r\nHost: x\r\n\r\n",
        "x".repeat(9_000)
    ));
    client.read_until("414");
}

#[test]
fn nothing_is_touched_where_it_is_off() {
    let (gateway, upstream) = start(Plan::new());
    let lines = format!("traceparent: no such form\r\n{STATE}X-Request-ID: a b\r\n");
    let (exchange, answer) = exchange(&gateway, &upstream, &lines);
    assert_eq!(exchange.header("traceparent"), Some("no such form"));
    assert_eq!(exchange.header("x-request-id"), Some("a b"));
    assert!(exchange.head.contains(STATE.trim_end()));
    for name in ["x-request-id", "x-gateway-request-id", "x-process-time"] {
        assert_eq!(answer.header(name), None);
    }
    let line = &gateway.logged(1)[0];
    assert_eq!((&*line.trace_id, &*line.request_id), ("", ""));
}

#[test]
fn an_error_of_the_gateways_reports_an_id_where_it_is_off_too() {
    let (plan, token) = (Plan::new(), "token-of-a-service");
    let gateway = plan
        .environment("SERVICE_TOKEN", token)
        .clients("client app env:SERVICE_TOKEN;")
        .server("location /v1/locks/ { openai_api on; }")
        .upstream(format!("127.0.0.1:{}", e2e::closed_port()))
        .start();
    let mut ids = vec![];
    for (call, status) in [
        (gateway.chat().token("wrong"), 401),
        (gateway.chat().token(token), 502),
        (gateway.get("/v1/locks/nowhere").token(token), 404),
    ] {
        let answer = call.send().expect_status(status);
        let [id] = named(&answer, "x-request-id")[..] else {
            panic!("{status}: {:?}", answer.headers);
        };
        assert!(is_new_id(id) && !ids.contains(&id.to_owned()), "{id}");
        assert_eq!(answer.header("x-gateway-request-id"), None);
        ids.push(id.to_owned());
        let line = gateway.logged(ids.len()).pop().expect("a line");
        assert_eq!(line.request_id, id, "{status}");
        assert_eq!((&*line.trace_id, &*line.span_id), ("", ""));
    }
    let log = gateway.error_log().text();
    let reported = log.lines().find(|line| line.contains("attempt_failed"));
    assert!(
        reported.is_some_and(|line| line.contains(&ids[1])),
        "{reported:?}"
    );
    let own = gateway.chat().token(token).header("x-request-id", ID);
    assert_eq!(named(&own.send(), "x-request-id"), [ID]);
}

#[test]
fn what_the_configuration_sends_goes_first() {
    let (gateway, upstream) = start(plan().location(
        "proxy_set_header X-Request-ID mine;
         proxy_set_header Traceparent '';
         proxy_set_header Connection '';",
    ));
    let (exchange, _) = exchange(&gateway, &upstream, "");
    assert_eq!(count(&exchange.head, "x-request-id: mine"), 1);
    assert_eq!(count(&exchange.head, "x-request-id:"), 1);
    assert_eq!(exchange.header("traceparent"), None);
}

#[test]
fn an_attempt_with_the_next_key_sends_the_ids_again() {
    let upstream = RawUpstream::bind();
    // The client's own header, which is as it was after each attempt.
    let seen =
        "proxy_set_header X-Seen $http_x_request_id; add_header X-Theirs $http_x_request_id;";
    let gateway = Plan::new()
        .pool("main", &failover::keys(2))
        .location(&format!("openai_trace on; {seen}"))
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().header("x-request-id", "not plain!").spawn();
    let ids = |exchange: &Exchange| {
        let header = |name| exchange.header(name).expect("a header").to_owned();
        assert_eq!(header("x-seen"), header("x-request-id"));
        (header("traceparent"), header("x-request-id"))
    };
    let first = {
        let mut exchange = upstream.accept();
        exchange.send("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        ids(&exchange)
    };
    let mut exchange = upstream.accept();
    assert_eq!(ids(&exchange), first);
    exchange.answer();
    let answer = client.join().expect("an answer").expect_status(200);
    assert_eq!(answer.header("x-theirs"), Some("not plain!"));
    // What the error log says of the first names the request.
    gateway.error_log().wait_for("attempt_failed");
    let text = gateway.error_log().text();
    let reported = text.lines().find(|line| line.contains("attempt_failed"));
    assert!(
        reported.is_some_and(|line| line.contains(&first.1)),
        "{reported:?}"
    );
}

#[test]
fn clients_of_http2_have_ids_too() {
    let (gateway, upstream) = start(plan().tls());
    let mut curl = http2::curl(&gateway, "/v1/chat/completions");
    let parent = format!("traceparent: {PARENT}");
    curl.args(["--json", "{}", "-i", "-H", &parent]);
    let client = std::thread::spawn(move || http2::run(curl));
    let mut exchange = upstream.accept();
    exchange.answer();
    let output = client.join().expect("curl");
    let line = &gateway.logged(1)[0];
    assert_eq!(sent(&exchange, line).0, TRACE);
    assert_eq!(exchange.header("x-request-id"), Some(&*line.request_id));
    let reported = format!("\r\nx-request-id: {}\r\n", line.request_id);
    assert!(output.contains(&reported), "{output}");
}

#[test]
fn answers_report_how_long_they_took() {
    let (gateway, upstream) = start(Plan::new().location("openai_process_time_header on;"));
    let mut client: RawClient = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    let arrived = std::time::Instant::now();
    // Time passes, and how much of it is for the header to report.
    e2e::wait_until("some time has passed", || {
        arrived.elapsed().as_millis() >= 200
    });
    exchange.send(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Process-Time: 99\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = client.answer().expect_status(200);
    let [time] = named(&answer, "x-process-time")[..] else {
        panic!("{:?}", answer.headers);
    };
    let seconds: f64 = time.parse().expect("a number");
    assert!((0.15..90.0).contains(&seconds), "{time}");
}

#[test]
fn a_subrequest_has_the_ids_of_its_request() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main-0001 slots=2;")
        .server("openai_trace on;")
        .location("mirror /mirrored;")
        .server("location = /mirrored { internal; openai main; proxy_pass http://upstream/copy; }")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().spawn();
    let mut exchanges = [upstream.accept(), upstream.accept()];
    let ids = exchanges.each_ref().map(|exchange| {
        let header = |name| exchange.header(name).expect("a header").to_owned();
        (header("traceparent"), header("x-request-id"))
    });
    exchanges.iter_mut().for_each(Exchange::answer);
    client.join().expect("an answer").expect_status(200);
    assert_eq!(ids[0], ids[1]);
}
