//! The OpenAPI document, and the page made of it.

use super::{Bed, Store};

#[test]
fn the_document_describes_every_path() {
    let bed = Bed::new(Store::Shm, 1);
    let answer = bed.get("/openapi.json").send().expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|v| v.starts_with("3.1"))
    );
    let paths = document["paths"].as_object().expect("paths");
    let mut names: Vec<_> = paths.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "/",
        "/health",
        "/metrics",
        "/system/info",
        "/v1/lock/acquire",
        "/v1/lock/extend",
        "/v1/lock/release",
        "/v1/locks/active",
        "/v1/locks/{lock_id}/force-release",
        "/v1/maintenance/cleanup-expired",
        "/v1/stats",
        "/v1/status",
    ];
    assert_eq!(names, expected);
}

/// It loads nothing from anywhere, and needs no script.
#[test]
fn the_page_stands_alone() {
    let bed = Bed::new(Store::Shm, 1);
    let answer = bed.get("/docs").send().expect_status(200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(answer.header("content-security-policy").is_some());
    let page = answer.text();
    for text in [
        "POST /v1/lock/acquire",
        "service_name",
        "GET /health",
        "openapi.json",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for foreign in [
        "http://", "https://", "<script", "<link", "<img", "@import", "url(",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
