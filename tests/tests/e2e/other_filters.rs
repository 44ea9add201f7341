//! Other modules that change answers, loaded after this one: nginx has them see an answer first.

use std::path::Path;

use e2e::{Flavour, Plan, RawUpstream};

/// Debian's Lua module, which only Debian's nginx can load.
fn with_lua(in_location: &str) -> Option<Plan> {
    let debian = Path::new("/usr/sbin/nginx");
    (Flavour::under_test().nginx == debian).then(|| {
        Plan::new()
            .main(
                "load_module /usr/lib/nginx/modules/ndk_http_module.so;
                 load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;",
            )
            .location(in_location)
    })
}

/// At the end it adds something of its own: of an answer that nginx does not buffer, the last
/// piece that comes before is not the end.
#[test]
fn what_another_filter_adds_at_the_end_arrives() {
    let Some(plan) = with_lua(
        r#"proxy_buffering off;
           body_filter_by_lua_block {
               if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. "data: added\n\n" end
           }"#,
    ) else {
        return;
    };
    let upstream = RawUpstream::bind();
    let gateway = plan.upstream(upstream.address()).start();
    for _ in 0..3 {
        let client = gateway.chat().spawn_events();
        let mut exchange = upstream.accept();
        exchange.begin_stream().event("first");
        let events = client.join().expect("a head");
        exchange.end_stream();
        let reported: Vec<_> = events.collect();
        assert_eq!(reported, ["first", "[DONE]", "added"]);
        gateway.wait_held(0, 0);
    }
}
