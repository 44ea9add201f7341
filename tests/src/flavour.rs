//! Which nginx and which module are under test.

use std::env;
use std::path::{Path, PathBuf};

/// The nginx and the module under test.
#[derive(Debug, Clone)]
pub struct Flavour {
    /// The nginx program.
    pub nginx: PathBuf,
    /// The module built for it.
    pub module: PathBuf,
}

impl Flavour {
    /// What the environment names, or Debian's nginx and the module that `make module` builds.
    pub fn under_test() -> Self {
        let path = |name, default: PathBuf| env::var_os(name).map_or(default, PathBuf::from);
        let flavour = Self {
            nginx: path("E2E_NGINX", "/usr/sbin/nginx".into()),
            module: path(
                "E2E_MODULE",
                workspace().join("target/release/ngx_http_openai_module.so"),
            ),
        };
        let Self { nginx, module } = &flavour;
        assert!(
            nginx.is_file(),
            "no nginx at {}: set E2E_NGINX",
            nginx.display()
        );
        assert!(
            module.is_file(),
            "no module at {}: run `make module`, or set E2E_MODULE",
            module.display()
        );
        Self {
            module: module.canonicalize().expect("the module's path"),
            ..flavour
        }
    }
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}
