//! Requests that nginx makes for another one: each has a lease of its own, and gives it back at
//! its own end.

use e2e::Plan;

#[test]
fn auth_request_may_ask_through_a_pool_of_its_own() {
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main id=m;")
        .pool("judge", "key sk-e2e-judge id=j;")
        .location("auth_request /judge;")
        .server(
            "location = /judge {
                internal; openai judge; proxy_pass_request_body off;
                proxy_set_header Content-Length ''; proxy_pass http://upstream/v1/judge;
             }",
        )
        .start();
    for _ in 0..3 {
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
    }
    let stats = gateway.mock().stats();
    assert_eq!(stats.key("Bearer sk-e2e-main").requests, 3);
    assert_eq!(stats.key("Bearer sk-e2e-judge").requests, 3);
}

#[test]
fn auth_request_may_ask_through_the_same_pool_with_its_only_slot() {
    let gateway = Plan::new()
        .location("auth_request /judge;")
        .server(
            "location = /judge {
                internal; openai main; proxy_pass_request_body off;
                proxy_set_header Content-Length ''; proxy_pass http://upstream/v1/judge;
             }",
        )
        .start();
    gateway.chat().send().expect_status(200);
    assert_eq!(
        gateway
            .mock()
            .stats()
            .key(&format!("Bearer {}", e2e::KEY))
            .requests,
        2
    );
}

#[test]
fn a_mirror_may_lease_a_key_of_its_own() {
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main id=m;")
        .pool("mirror", "key sk-e2e-mirror id=x;")
        .location("mirror /mirror;")
        .server(
            "location = /mirror {
                internal; openai mirror; proxy_pass http://upstream/v1/mirrored;
             }",
        )
        .start();
    for _ in 0..3 {
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
    }
    e2e::wait_until("the mirrored requests have arrived", || {
        gateway.mock().stats().key("Bearer sk-e2e-mirror").requests == 3
    });
    assert_eq!(gateway.mock().stats().key("Bearer sk-e2e-main").requests, 3);
}

#[test]
fn a_page_may_be_put_together_from_requests_through_the_pool() {
    let gateway = Plan::new()
        .server("location = /page { ssi on; ssi_types *; default_type text/html; root {dir}; }")
        .file(
            "page",
            "<!--#include virtual=\"/v1/one\" --> and <!--#include virtual=\"/v1/two\" -->",
        )
        .start();
    let answer = gateway.get("/page").send().expect_status(200);
    assert!(answer.text().contains("/v1/one"), "{}", answer.text());
    assert!(answer.text().contains("/v1/two"), "{}", answer.text());
    assert_eq!(
        gateway
            .mock()
            .stats()
            .key(&format!("Bearer {}", e2e::KEY))
            .requests,
        2
    );
}
