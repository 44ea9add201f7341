//! System calls of nginx that fail when a test says so, by a library that is preloaded.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;

use tempfile::TempDir;

use crate::plan::Plan;

/// What is to fail. The numbers are those of `faults.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// nginx's own allocations, from `malloc` and `posix_memalign`.
    Memory = 0,
    /// `epoll_ctl`, but for removals.
    Epoll = 1,
}

const KINDS: usize = 2;
/// Three words a kind: how many calls pass, how many fail after those, how many have failed.
const WORDS: usize = 3;
const WORD: usize = size_of::<i64>();

/// The schedule of faults, shared with the processes of one nginx. Nothing fails at first.
pub struct Faults {
    dir: TempDir,
    page: File,
}

impl Faults {
    /// Compiles the library.
    #[expect(clippy::new_without_default, reason = "new() runs a compiler")]
    pub fn new() -> Self {
        let dir = crate::gateway::directory();
        let source = dir.path().join("faults.c");
        fs::write(&source, include_str!("faults.c")).expect("the directory is writable");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(dir.path().join("faults.so"))
            .arg(&source)
            .arg("-ldl")
            .output()
            .expect("a C compiler");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        let path = dir.path().join("page");
        let page = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .expect("the directory is writable");
        page.set_permissions(Permissions::from_mode(0o666))
            .expect("its permissions can be set");
        page.set_len(((KINDS * WORDS + 1) * WORD) as u64)
            .expect("the page has room");
        Self { dir, page }
    }

    /// Has the nginx of a plan preload the library.
    #[must_use]
    pub fn preloaded(&self, plan: Plan) -> Plan {
        let path = |name| self.dir.path().join(name).display().to_string();
        plan.environment("LD_PRELOAD", &path("faults.so"))
            .environment("E2E_FAULTS", &path("page"))
    }

    /// From now on `pass` calls succeed, and then `fail` calls fail.
    pub fn arm(&self, fault: Fault, pass: i64, fail: i64) {
        self.write(fault, 1, 0);
        self.write(fault, 0, pass);
        self.write(fault, 2, 0);
        self.write(fault, 1, fail);
    }

    /// Ends that; how many calls have failed.
    pub fn disarm(&self, fault: Fault) -> i64 {
        self.write(fault, 1, 0);
        let mut word = [0; WORD];
        let at = (fault as usize * WORDS + 2) * WORD;
        self.page
            .read_exact_at(&mut word, at as u64)
            .expect("the page can be read");
        i64::from_ne_bytes(word)
    }

    /// Lets a worker have so many bytes of addresses at most, once its event loop turns.
    pub fn limit_addresses(&self, bytes: Option<u64>) {
        let bytes = i64::try_from(bytes.unwrap_or(0)).expect("a size");
        self.put(KINDS * WORDS, bytes);
    }

    fn write(&self, fault: Fault, word: usize, value: i64) {
        self.put(fault as usize * WORDS + word, value);
    }

    fn put(&self, at: usize, value: i64) {
        self.page
            .write_all_at(&value.to_ne_bytes(), (at * WORD) as u64)
            .expect("the page can be written");
    }
}
