//! Schemathesis from PyPI makes up requests by the OpenAPI document, right ones and wrong ones, and
//! looks for answers that the document does not allow. `SCHEMATHESIS_EXAMPLES` says how many.

use std::fs;

use e2e::schemathesis;

use crate::locks::{ADMIN, Bed, STORES};

#[test]
fn the_service_does_as_it_says() {
    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "20".to_owned());
    for store in STORES {
        let bed = Bed::with(store, 200, "", "openai_lock_ttl 1s 60s;", |plan| plan);
        let document = bed.get("/openapi.json").send().expect_status(200);
        let file = bed.gateway.dir().join("openapi.json");
        fs::write(&file, document.body).expect("the directory is writable");
        // nginx itself refuses TRACE, before it looks at the path.
        let config = bed.gateway.dir().join("schemathesis.toml");
        let methods = "[phases.coverage]\nunexpected-methods = [\"DELETE\", \"GET\", \"PATCH\", \"POST\", \"PUT\"]\n";
        fs::write(config, methods).expect("the directory is writable");
        let (file, url) = (file.to_string_lossy(), bed.gateway.url(""));
        let header = format!("Authorization: Bearer {ADMIN}");
        // The rest of the document is about the upstream.
        let ours = ["--exclude-path", "/v1/chat/completions"];
        let what = ["run", &file, "--url", &url, "--header", &header];
        let how = ["--checks", "all", "--workers", "2", "--seed", "1"];
        let more = ["--generation-database", "none", "--no-color"];
        let said = schemathesis(
            bed.gateway.dir(),
            &[
                &what[..],
                &ours,
                &how,
                &more,
                &["--max-examples", &examples],
            ]
            .concat(),
        );
        println!("{store:?}: {said}");
        for lock in bed.active() {
            bed.force_release(&lock).expect_status(200);
        }
        bed.gateway.wait_held(0, 0);
    }
}
