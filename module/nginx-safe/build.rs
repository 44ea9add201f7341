//! Tells the code what the nginx that it is built for has: `ngx_feature = "ssl"`.

use std::env::var;

const ASKED: [&str; 4] = ["ssl", "http_cache", "http_v2", "http_v3"];

fn main() {
    println!(
        "cargo::rustc-check-cfg=cfg(ngx_feature, values(\"ssl\", \"http_cache\", \"http_v2\", \"http_v3\"))"
    );
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    let features = var("DEP_NGINX_FEATURES").unwrap_or_default();
    for feature in features.split(',').filter(|name| ASKED.contains(name)) {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }
}
