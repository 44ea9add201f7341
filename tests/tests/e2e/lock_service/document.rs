//! The OpenAPI document, and the page that shows it.

use e2e::Call;

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
        "/v1/chat/completions",
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

/// It loads nothing from elsewhere, and what it loads comes from the same location.
#[test]
fn the_page_stands_alone() {
    let bed = Bed::new(Store::Shm, 1);
    let answer = bed.get("/docs").send().expect_status(200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = answer.text();
    for foreign in ["http://", "https://", "<img", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for (file, kind) in [("swagger-ui.js", "javascript"), ("swagger-ui.css", "css")] {
        assert!(page.contains(&format!("docs?{file}")), "{file}");
        let call = Call::new("GET", bed.gateway.url(&format!("/docs?{file}")));
        let file = call.send().expect_status(200);
        assert_eq!(file.header("content-encoding"), Some("gzip"));
        let given = file.header("content-type").expect("a media type");
        assert!(given.contains(kind), "{given}");
        assert!(file.body.len() > 10_000);
    }
}
