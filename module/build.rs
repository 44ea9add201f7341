//! Tells the code what the nginx that it is built for has: `ngx_feature = "ssl"`.

use std::env::var;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values(\"ssl\"))");
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    let features = var("DEP_NGINX_FEATURES").unwrap_or_default();
    if features.split(',').any(|feature| feature == "ssl") {
        println!("cargo::rustc-cfg=ngx_feature=\"ssl\"");
    }
}
