//! What there is: `GET /`, and the page by both of its names.

use serde_json::json;

use super::{ADMIN, Bed, Store};

#[test]
fn the_root_leads_to_all_else() {
    let bed = Bed::new(Store::Shm, 1);
    let refusal = bed.gateway.get("/").send().refusal();
    assert_eq!(refusal.status, 401);
    let index = bed.get("/").send().expect_status(200).json();
    assert_eq!(index["name"], "nginx-openai");
    let version = index["version"].as_str().expect("a version");
    assert!(
        version.starts_with(|c: char| c.is_ascii_digit()),
        "{version}"
    );
    let health = bed.gateway.get("/health").send().expect_status(200).json();
    assert_eq!(health["version"], json!(version));
    let links = index["links"].as_object().expect("links");
    for name in ["docs", "redoc", "health", "metrics", "openapi", "status"] {
        assert!(links.contains_key(name), "{name}");
    }
    for path in links.values() {
        let path = path.as_str().expect("a path");
        bed.gateway.get(path).token(ADMIN).send().expect_status(200);
    }
}

#[test]
fn the_page_has_two_names() {
    let bed = Bed::new(Store::Shm, 1);
    let page = |path: &str| bed.get(path).send().expect_status(200).text().to_owned();
    let redoc = page("/redoc");
    assert!(redoc.contains("openapi.json"), "{redoc}");
    assert_eq!(redoc, page("/docs"));
}
