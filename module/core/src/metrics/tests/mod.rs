mod daily;
mod end;
pub(super) mod interrupted;
mod shared;
mod snapshot;

use std::collections::HashMap;

use openai_wire::Tokens;
use openai_wire::usage::Source;
use proptest::prelude::*;

use super::zone::{MetricsTable, TABLES};
use super::*;
use crate::circuit::{CircuitState, CircuitView, Counts};
use crate::clients::QuotaDirective;
use crate::lease::{Cause, KeyView};
use crate::view::{NodeStatus, PoolView, UpstreamView};

/// Aligned bytes for that many keys.
fn bytes(keys: usize) -> Vec<u64> {
    vec![0; MetricsZone::bytes_for(keys).div_ceil(8)]
}

fn record<'a>(service: &'a str, key: &'a str, model: &'a str, completion: u64) -> Record<'a> {
    Record {
        http: Some(Http::new(
            b"POST",
            Endpoint::of(b"/v1/chat/completions"),
            200,
        )),
        day: Day::from_number(20_000),
        ended_ms: 0,
        duration_ms: 40,
        request: Some(PoolRequest {
            service,
            pool: "main",
            key,
            model,
            known_model: false,
            outcome: Outcome::Success,
            attempts: 1,
            tokens: Tokens {
                prompt: 3,
                completion,
                cached: 1,
                reasoning: 0,
            },
            source: Source::Exact,
            cost: Some(completion * 1_000_000),
            wait_ms: Some(0),
            hold_ms: Some(30),
            first_token_ms: Some(7),
        }),
    }
}

/// The sum of a series over all labels.
fn sum(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let family = series.split('{').next()?;
        (family == name).then(|| value.parse::<f64>().expect("a number"))
    });
    lines.sum()
}

fn text(metrics: &MetricsZone<'_>) -> String {
    render(metrics, &Live::default(), None)
}

#[test]
fn a_request_is_counted_in_every_table() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    metrics.add(&record("app", "k1", "gpt-4o", 5));
    metrics.add(&record("app", "k2", "gpt-4o", 6));
    let text = text(&metrics);
    for line in [
        "http_requests_total{method=\"POST\",endpoint=\"/v1/chat/completions\",status=\"200\"} 2",
        "api_requests_total{endpoint=\"/v1/chat/completions\",status=\"200\"} 2",
        "api_request_duration_seconds_bucket{endpoint=\"/v1/chat/completions\",le=\"0.05\"} 2",
        "active_users 0",
        "openai_keys_refused 0",
        "http_request_duration_seconds_bucket{method=\"POST\",endpoint=\"/v1/chat/completions\",le=\"0.05\"} 2",
        "openai_service_requests_total{service=\"app\",status=\"success\"} 2",
        "openai_api_calls_total{model=\"gpt-4o\",status=\"success\"} 2",
        "openai_tokens_used_total{model=\"gpt-4o\"} 17",
        "openai_tokens_total{model=\"gpt-4o\",kind=\"cached\"} 2",
        "openai_key_tokens_total{pool=\"main\",key=\"k2\",kind=\"completion\"} 6",
        "openai_cost_dollars_total{model=\"gpt-4o\"} 0.000011",
        "openai_time_to_first_token_seconds_sum{model=\"gpt-4o\"} 0.014",
        "openai_lease_hold_seconds_bucket{pool=\"main\",le=\"0.025\"} 0",
        "openai_lease_hold_seconds_bucket{pool=\"main\",le=\"0.05\"} 2",
        "openai_lease_hold_seconds_bucket{pool=\"main\",le=\"+Inf\"} 2",
        "openai_gateway_info{version=\"\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn each_family_has_a_type_and_a_help() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    metrics.add(&record("app", "k1", "gpt-4o", 5));
    let key = KeyView {
        cause: Some(Cause::RateLimited),
        requests: Some(1),
        tokens: Some(1),
        ..KeyView::default()
    };
    let node = NodeStatus {
        node: "redis:6379".into(),
        state: "up".into(),
        error: None,
        round_trip_us: None,
    };
    let pool = PoolView {
        keys: vec![("k1".into(), key)],
        nodes: vec![node],
        ..PoolView::default()
    };
    let upstream = UpstreamView {
        name: "azure".into(),
        circuit: CircuitView {
            state: CircuitState::Closed,
            all: 0,
            failed: 0,
            until_ms: None,
            trips: 0,
            recent: Counts::default(),
        },
    };
    let quota = QuotaDirective::parse(&["app", "tokens=5/day"]).expect("a quota");
    let quota = LiveQuota {
        service: "app",
        limit: quota.quota.limits()[0],
        used: 1,
    };
    let live = Live {
        pools: &[pool],
        upstreams: &[upstream],
        quotas: &[quota],
        ..Live::default()
    };
    let text = render(&metrics, &live, None);
    let written = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut written: Vec<_> = written.collect();
    let families = include_str!("../families.txt").lines();
    let mut families: Vec<_> = families
        .map(|line| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    written.sort_unstable();
    families.sort_unstable();
    assert_eq!(written, families);
}

#[test]
fn what_is_not_asked_for_by_a_pool_counts_as_http_only() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let http = Some(Http::new(b"BREW", Endpoint::of(b"/teapot/1"), 418));
    metrics.add(&Record {
        http,
        day: Day::from_number(20_000),
        ended_ms: 0,
        duration_ms: 1,
        request: None,
    });
    let text = text(&metrics);
    assert!(
        text.contains(
            "http_requests_total{method=\"other\",endpoint=\"other\",status=\"other\"} 1"
        )
    );
    assert!(
        TABLES
            .into_iter()
            .all(|table| metrics.used(table).count() == 0)
    );
}

#[test]
fn the_api_is_counted_by_endpoint_whatever_the_method_and_all_else_as_other() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    for (method, path) in [
        ("GET", "/v1/models/gpt-4o"),
        ("DELETE", "/v1/models/gpt-4o"),
        ("GET", "/health"),
        ("GET", "/"),
        ("GET", "/v1/made-up"),
    ] {
        metrics.add(&Record {
            http: Some(Http::new(
                method.as_bytes(),
                Endpoint::of(path.as_bytes()),
                200,
            )),
            day: Day::from_number(20_000),
            ended_ms: 0,
            duration_ms: 40,
            request: None,
        });
    }
    let text = text(&metrics);
    for line in [
        "# TYPE api_requests_total counter",
        "api_requests_total{endpoint=\"/v1/models\",status=\"200\"} 2",
        "api_requests_total{endpoint=\"other\",status=\"200\"} 3",
        "# TYPE api_request_duration_seconds histogram",
        "api_request_duration_seconds_count{endpoint=\"other\"} 3",
        "api_request_duration_seconds_sum{endpoint=\"/v1/models\"} 0.08",
        "http_requests_total{method=\"GET\",endpoint=\"/\",status=\"200\"} 1",
        "# TYPE active_users gauge",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert_eq!(sum(&text, "api_requests_total"), 5.0);
}

#[test]
fn what_a_service_reports_adds_tokens_and_failures_but_no_request() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let report = UsageReport {
        service: "app",
        pool: "main",
        key: "k1",
        tokens: 150,
        failed: false,
    };
    let day = Day::from_number(20_000);
    metrics.report(day, &report);
    metrics.report(
        day,
        &UsageReport {
            tokens: 7,
            failed: true,
            ..report
        },
    );
    metrics.report(
        day,
        &UsageReport {
            tokens: 0,
            ..report
        },
    );
    let text = text(&metrics);
    for line in [
        "openai_service_requests_total{service=\"app\",status=\"success\"} 0",
        "openai_service_failed_locks_total{service=\"app\"} 1",
        "openai_tokens_used_total{model=\"\"} 157",
        "openai_service_tokens_total{service=\"app\",kind=\"prompt\"} 157",
        "openai_key_tokens_total{pool=\"main\",key=\"k1\",kind=\"prompt\"} 157",
        "openai_unpriced_requests_total{model=\"\"} 2",
        "openai_upstream_attempts_total{pool=\"main\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    let (used, _) = metrics.used_by("app", day);
    assert_eq!((used.tokens, used.requests), (157, 0));
    assert!(!text.contains("upstream_error"), "{text}");
    let figures = metrics.stats(day, None, Some("app"));
    assert_eq!(figures.services[0].here.prompt, 157);
    assert_eq!(figures.services[0].here.failed_locks, 1);
    let mut counters = figures.services[0].here;
    assert_eq!(counters.outcomes(), counters.requests, "of an earlier day");
    counters.requests[Outcome::Success as usize] = 3;
    let outcomes = counters.outcomes();
    assert_eq!(outcomes.iter().sum::<u64>(), 3);
    assert_eq!(outcomes[Outcome::UpstreamError as usize], 1);
}

#[test]
fn clients_are_active_that_were_seen_since_a_moment() {
    let mut bytes = bytes(16);
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut bytes);
    let mut metrics = MetricsZone::format(bytes).expect("a zone");
    assert_eq!(metrics.seen_since(1), 0);
    for (name, at) in [("a", 1_000), ("b", 1_100), ("a", 1_200)] {
        metrics.seen(name, at);
    }
    let seen = [1, 1_100, 1_101, 1_201].map(|since| metrics.seen_since(since));
    assert_eq!(seen, [2, 2, 1, 0]);
    let mut copy = MetricsCopy::of(bytes).expect("a zone");
    let copy = copy.metrics().expect("a copy");
    assert_eq!(copy.seen_since(1_100), 2);
    assert!(text(&copy).contains("service=\"b\""));
}

#[test]
fn endpoints_are_known_by_their_paths() {
    for (path, endpoint) in [
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/x", "other"),
        ("/v1/models/gpt-4o", "/v1/models"),
        ("/v1/modelsx", "other"),
        ("/v1/locks/active", "/v1/locks/active"),
        ("/v1/locks/abc/force-release", "/v1/locks"),
        ("/health", "/health"),
        ("", "other"),
    ] {
        assert_eq!(Endpoint::of(path.as_bytes()).as_str(), endpoint, "{path}");
        let billed = ["completions", "responses", "embeddings"];
        let has_tokens = billed.iter().any(|name| endpoint.ends_with(name));
        assert_eq!(Endpoint::of(path.as_bytes()).has_tokens(), has_tokens);
    }
}

#[test]
fn models_that_failed_get_no_row_and_those_that_work_no_more_than_there_is_room_for() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    for n in 0..2_000 {
        let model = format!("made-up-{n}");
        let mut record = record("app", "k", &model, 1);
        if let Some(request) = &mut record.request {
            request.outcome = Outcome::ClientError;
        }
        metrics.add(&record);
    }
    assert_eq!(metrics.used(MetricsTable::Models).count(), 1);
    for n in 0..2_000 {
        metrics.add(&record("app", "k", &format!("real-{n}"), 1));
    }
    let rows = metrics.used(MetricsTable::Models).count();
    assert!((90..=128).contains(&rows), "{rows}");
    let text = text(&metrics);
    assert_eq!(sum(&text, "openai_api_calls_total"), 4_000.0);
    assert_eq!(sum(&text, "openai_service_requests_total"), 4_000.0);
}

#[test]
fn a_client_cannot_make_two_series_of_one_name() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    metrics.add(&record("app", "k", "other", 1));
    metrics.add(&record("app", "k", &"long".repeat(99), 1));
    metrics.add(&record("app", "k", "a\"b\\\n", 1));
    let text = text(&metrics);
    assert!(text.contains("openai_tokens_used_total{model=\"other\"} 8"));
    assert!(text.contains("openai_tokens_used_total{model=\"a\\\"b\\\\\\n\"} 4"));
}

#[test]
fn what_the_configuration_names_begins_at_zero() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    metrics.introduce_service("app");
    metrics.introduce_key("main", "k1");
    metrics.introduce_service("app");
    metrics.introduce_key("main", "k1");
    let text = text(&metrics);
    assert!(text.contains("openai_service_requests_total{service=\"app\",status=\"success\"} 0"));
    assert!(
        text.contains("openai_key_requests_total{pool=\"main\",key=\"k1\",status=\"success\"} 0")
    );
    assert_eq!(metrics.used(MetricsTable::Keys).count(), 1);
}

#[test]
fn totals_stay_when_opened_again_and_are_refused_when_foreign() {
    let mut bytes = bytes(16);
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut bytes);
    MetricsZone::format(bytes)
        .expect("a zone")
        .add(&record("app", "k", "m", 1));
    let metrics = MetricsZone::open(bytes).expect("the same metrics");
    assert_eq!(metrics.used(MetricsTable::Services).count(), 1);
    bytes[8] ^= 1;
    assert_eq!(
        MetricsZone::open(bytes).err(),
        Some(MetricsZoneError::Foreign)
    );
    let few = MetricsZone::bytes_for(16) - 8;
    assert_eq!(
        MetricsZone::format(&mut bytes[..few]).err(),
        Some(MetricsZoneError::TooSmall(few))
    );
}

proptest! {
    // Each renders thousands of lines.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sums_are_the_same_whichever_way(
        requests in prop::collection::vec((0..40u32, 0..300u32, 0..200u32, 0..1_000u64, any::<bool>()), 1..400)
    ) {
        let mut bytes = bytes(100);
        let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
        let (mut total, mut per_service) = (0, HashMap::<u32, u64>::new());
        for &(service, key, model, completion, fails) in &requests {
            let names = (format!("s{service}"), format!("k{key}"), format!("m{model}"));
            let mut record = record(&names.0, &names.1, &names.2, completion);
            if let Some(request) = &mut record.request && fails {
                request.outcome = Outcome::UpstreamError;
            }
            metrics.add(&record);
            total += completion + 3;
            *per_service.entry(service).or_default() += 1;
        }
        let text = text(&metrics);
        let n = requests.len() as f64;
        for name in [
            "openai_service_requests_total", "openai_api_calls_total", "openai_pool_requests_total",
            "openai_key_requests_total", "http_requests_total",
            "openai_service_request_duration_seconds_count", "openai_lease_hold_seconds_count",
        ] {
            prop_assert_eq!(sum(&text, name), n, "{}", name);
        }
        prop_assert_eq!(sum(&text, "openai_tokens_used_total"), total as f64);
        for (service, count) in per_service {
            let of = format!("{{service=\"s{service}\",");
            let of: String = text.lines().filter(|line| line.contains(&of)).flat_map(|l| [l, "\n"]).collect();
            prop_assert_eq!(sum(&of, "openai_service_requests_total"), count as f64);
        }
    }
}

#[test]
fn the_last_minute_of_a_pool_is_known() {
    let mut bytes = bytes(16);
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).unwrap();
    let now = 1_000_000;
    let mut end = |outcome, ended_ms| {
        let mut record = record("app", "k1", "gpt-4o", 1);
        record.ended_ms = ended_ms;
        record.request.as_mut().unwrap().outcome = outcome;
        metrics.add(&record);
    };
    end(Outcome::NoKey, now - 70_000);
    for outcome in OUTCOMES {
        end(outcome, now);
    }
    let counts = |pool, now| {
        let recent = metrics.recent(pool, now);
        (recent.all, recent.failed)
    };
    assert_eq!(counts("main", now), (10, 6));
    assert_eq!(counts("other", now), (0, 0));
    assert_eq!(counts("main", now + 60_000), (0, 0));
}
