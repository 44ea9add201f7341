//! The configurations that people copy, made to run in a test's own directory.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::cert::Certificate;
use crate::config_test::ConfigTest;
use crate::flavour::{Flavour, workspace};
use crate::gateway::directory;
use crate::nginx::Nginx;
use crate::port::free_port;
use crate::wait::wait_until;

/// A configuration of the directory `nginx`, with its paths, ports and secrets replaced.
pub struct Shipped {
    flavour: Flavour,
    dir: TempDir,
    environment: Vec<(String, String)>,
    port: u16,
}

impl Shipped {
    /// The token that the clients of every shipped configuration may use.
    pub const TOKEN: &str = "token-of-a-service";

    /// The names of all of them.
    pub fn names() -> Vec<String> {
        let files = fs::read_dir(workspace().join("nginx")).expect("the directory nginx");
        let mut names: Vec<String> = files
            .map(|file| {
                file.expect("a file")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| name.ends_with(".conf"))
            .collect();
        names.sort();
        names
    }

    /// Prepares one, before an upstream on this port.
    pub fn prepare(name: &str, upstream_port: u16) -> Self {
        let text = fs::read_to_string(workspace().join("nginx").join(name));
        Self::prepare_text(&text.expect("the configuration"), upstream_port)
    }

    /// The same, of a text that was made of one.
    pub fn prepare_text(text: &str, upstream_port: u16) -> Self {
        let flavour = Flavour::under_test();
        let dir = directory();
        let port = free_port();
        let source = workspace().join("nginx");
        fs::write(
            dir.path().join("nginx.conf"),
            adapt(text, &flavour, dir.path(), port, upstream_port),
        )
        .expect("the directory is writable");
        fs::copy(
            source.join("log_format.conf"),
            dir.path().join("log_format.conf"),
        )
        .expect("the log format");
        furnish(dir.path());
        let environment = [
            ("PRIMARY_OPENAI_API_KEY", "sk-e2e-the-primary-key"),
            (
                "OPENAI_API_KEYS",
                "sk-e2e-the-second-key,sk-e2e-the-third-key",
            ),
            ("EMBEDDINGS_API_KEY", "sk-e2e-the-embeddings-key"),
            ("SERVICE_TOKEN", Self::TOKEN),
            ("ADMIN_TOKEN", "token-of-an-admin"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            flavour,
            dir,
            environment: environment.into(),
            port,
        }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line to a block, which is named as its first line begins: `http`, `openai_pool main`.
    #[must_use]
    #[track_caller]
    pub fn add(self, block: &str, line: &str) -> Self {
        self.change(block, |inside| inside.insert_str(0, &format!("\n{line}\n")))
    }

    /// Sets a directive of a block, in place of what the block itself says of it.
    #[must_use]
    #[track_caller]
    pub fn set(self, block: &str, line: &str) -> Self {
        let name = line.split(' ').next().unwrap_or(line);
        self.change(block, |inside| {
            let mut depth = 0;
            let mut kept = format!("\n{line}\n");
            for old in inside.lines() {
                let code = old.split('#').next().unwrap_or_default();
                let said = code.split_whitespace().next();
                if depth > 0 || said != Some(name) {
                    kept.push_str(old);
                    kept.push('\n');
                }
                depth += code.matches('{').count();
                depth -= code.matches('}').count();
            }
            *inside = kept;
        })
    }

    /// Replaces some text, which must be there.
    #[must_use]
    #[track_caller]
    pub fn replace(self, from: &str, to: &str) -> Self {
        let path = self.dir.path().join("nginx.conf");
        let text = fs::read_to_string(&path).expect("the configuration");
        assert!(text.contains(from), "no {from:?}:\n{text}");
        fs::write(path, text.replace(from, to)).expect("the directory is writable");
        self
    }

    /// The directory that it will run in.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Changes what is between the braces of a block.
    #[track_caller]
    fn change(self, block: &str, change: impl FnOnce(&mut String)) -> Self {
        let path = self.dir.path().join("nginx.conf");
        let text = fs::read_to_string(&path).expect("the configuration");
        // The block's name begins a line, and nothing but its brace follows.
        let begin = text.match_indices(block).find_map(|(at, _)| {
            let before = text[..at].rsplit('\n').next()?;
            let after = at + block.len();
            let brace = after + text[after..].find('{')?;
            (is_blank(before) && is_blank(&text[after..brace])).then_some(brace + 1)
        });
        let begin = begin.unwrap_or_else(|| panic!("no block {block:?}:\n{text}"));
        let mut depth = 1;
        let mut comment = false;
        let end = text[begin..].char_indices().find_map(|(at, c)| {
            match c {
                '#' => comment = true,
                '\n' => comment = false,
                '{' if !comment => depth += 1,
                '}' if !comment => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(begin + at)
        });
        let end = end.expect("the block ends");
        let mut inside = text[begin..end].to_owned();
        change(&mut inside);
        let text = [&text[..begin], &inside, &text[end..]].concat();
        fs::write(path, text).expect("the directory is writable");
        self
    }

    /// Writes a file beside the configuration.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.dir.path().join(name), content).expect("the directory is writable");
        self
    }

    /// Unsets a variable of its environment.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// Has nginx test it.
    pub fn test(&self) -> ConfigTest {
        ConfigTest::run(&self.flavour, self.dir.path(), &self.environment, &["-t"])
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> RunningShipped {
        let nginx = Nginx::start(&self.flavour, self.dir.path(), &self.environment)
            .unwrap_or_else(|log| panic!("{log}"));
        RunningShipped {
            nginx,
            port: self.port,
            dir: self.dir,
        }
    }
}

/// A shipped configuration that is being served.
pub struct RunningShipped {
    nginx: Nginx,
    port: u16,
    dir: TempDir,
}

impl RunningShipped {
    /// The port that stands for 8004.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory, with the configuration and the logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The nginx.
    pub fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    /// Waits until a file of its directory holds `needle`, and gives that line.
    #[track_caller]
    pub fn line_of(&self, file: &str, needle: &str) -> String {
        let path = self.dir.path().join(file);
        let text = || fs::read_to_string(&path).unwrap_or_default();
        wait_until(&format!("{file} holds {needle:?}"), || {
            text().contains(needle)
        });
        text()
            .lines()
            .find(|line| line.contains(needle))
            .unwrap_or_default()
            .to_owned()
    }

    /// Ends nginx in order; its log must report no fault.
    #[track_caller]
    pub fn stop(mut self) {
        self.nginx.signal(Signal::QUIT);
        self.nginx.wait_ended(&[]);
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Replaces what belongs to the machine: the module's path, directories and ports.
fn adapt(text: &str, flavour: &Flavour, dir: &Path, port: u16, upstream_port: u16) -> String {
    let home = dir.display();
    let mut text = text
        .replace("/usr/lib/nginx/modules/", "modules/")
        .replace(
            "modules/ngx_http_openai_module.so",
            &flavour.module.display().to_string(),
        )
        .replace("/etc/nginx/", &format!("{home}/"))
        .replace("/etc/nginx-openai/", &format!("{home}/"))
        .replace("/dev/stdout", &format!("{home}/openai.log"))
        .replace("stderr warn", &format!("{home}/error.log warn"))
        .replace("listen 8004", &format!("listen 127.0.0.1:{port}"))
        .replace("mock:8080", &format!("127.0.0.1:{upstream_port}"))
        .replace("/var/log/nginx/", &format!("{home}/"))
        .replace("listen 443", &format!("listen 127.0.0.1:{}", free_port()))
        .replace(
            "listen      80;",
            &format!("listen 127.0.0.1:{};", free_port()),
        )
        .replace("127.0.0.1:8004", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{upstream_port}"))
        .replace("logs/nginx.pid", "nginx.pid")
        .replace("logs/error.log", "error.log")
        // To raise a limit takes a privilege that the root of a container may lack.
        .replace("worker_rlimit_nofile", "# worker_rlimit_nofile");
    if !text.lines().any(|line| line.starts_with("pid ")) {
        text.insert_str(0, "pid nginx.pid;\n");
    }
    format!("daemon off;\n{text}")
}

/// Makes the files that the configurations name.
fn furnish(dir: &Path) {
    for name in ["tls", "keys", "tokens", "logs", "temp"] {
        fs::create_dir(dir.join(name)).expect("the directory is writable");
    }
    let certificate = Certificate::create(dir);
    let move_to = |from: &Path, to: &str| {
        fs::rename(from, dir.join(to)).expect("the directory is writable");
    };
    move_to(&certificate.cert, "tls/gateway.crt");
    move_to(&certificate.key, "tls/gateway.key");
    let write = |name: &str, content: &str| {
        fs::write(dir.join(name), content).expect("the directory is writable");
    };
    write(
        "keys/batch.keys",
        "# team A\nsk-e2e-a id=team-a\nsk-e2e-b id=team-b slots=4 weight=3\n",
    );
    write("tokens/nightly", "token-of-the-night\n");
}
