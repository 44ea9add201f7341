//! Sets `cfg(ngx_feature = "...")` for the features of the nginx that the crate is built for. If
//! the build directory of that nginx contains object files, the tests of the crate are linked with
//! them.

use std::env::var;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

const ASKED: [&str; 4] = ["ssl", "http_cache", "http_v2", "http_v3"];

fn main() -> io::Result<()> {
    println!(
        "cargo::rustc-check-cfg=cfg(ngx_feature, values(\"ssl\", \"http_cache\", \"http_v2\", \"http_v3\"))"
    );
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    let features = var("DEP_NGINX_FEATURES").unwrap_or_default();
    for feature in features.split(',').filter(|name| ASKED.contains(name)) {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }
    println!("cargo::rerun-if-env-changed=NGINX_BUILD_DIR");
    let build = PathBuf::from(var("NGINX_BUILD_DIR").unwrap_or_default());
    if build.join("src/core/nginx.o").is_file() {
        let out = PathBuf::from(var("OUT_DIR").unwrap_or_default());
        link_tests(&build, &out)?;
    }
    Ok(())
}

/// Links the tests with all object files of nginx and with nginx's libraries. `main` of nginx is
/// renamed to `main_of_nginx`.
fn link_tests(build: &Path, out: &Path) -> io::Result<()> {
    let mut objects = Vec::new();
    find_objects(build, &mut objects)?;
    for object in objects {
        let object = if object.ends_with("src/core/nginx.o") {
            let renamed = out.join("nginx.o");
            let status = Command::new("objcopy")
                .args(["--redefine-sym", "main=main_of_nginx"])
                .args([&object, &renamed])
                .status()?;
            if !status.success() {
                return Err(io::Error::other("objcopy has failed"));
            }
            renamed
        } else {
            object
        };
        println!("cargo::rustc-link-arg={}", object.display());
    }
    let makefile = fs::read_to_string(build.join("Makefile"))?;
    let libraries = makefile
        .split_whitespace()
        .filter(|word| word.starts_with("-l"));
    for library in libraries {
        println!("cargo::rustc-link-arg={library}");
    }
    Ok(())
}

fn find_objects(folder: &Path, objects: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_objects(&path, objects)?;
        } else if path.extension().is_some_and(|end| end == "o") {
            objects.push(path);
        }
    }
    Ok(())
}
