//! When key files that have changed are read.

/// How long files must stay unchanged before they are read, in milliseconds. A program that
/// rewrites a file in place may not have finished.
const SETTLE_MS: u64 = 100;
/// Files with an error are read again after this many checks, even if unchanged: the cause may be
/// outside of them.
const RETRY: u32 = 10;

/// What to do next with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextLook {
    /// Check them again after this many milliseconds.
    Check(u64),
    /// Read them now.
    Read,
}

/// The watch over a set of files. `S` identifies their state, for example by their times of change.
#[derive(Debug)]
pub struct FileWatch<S> {
    interval_ms: u64,
    /// State of the files when they were last read, and when they were last checked.
    read: S,
    seen: S,
    /// The error in the files, and the number of checks since it was found.
    error: Option<(String, u32)>,
    /// Newest generation of keys that another worker has announced.
    announced: u64,
}

impl<S: PartialEq + Clone> FileWatch<S> {
    /// A watch over files that are checked at this interval in milliseconds. They were read in the
    /// state `read`, and are now in the state `seen`.
    pub fn new(interval_ms: u64, read: S, seen: S) -> Self {
        Self {
            interval_ms,
            read,
            seen,
            error: None,
            announced: 0,
        }
    }

    /// Interval between checks, in milliseconds.
    #[must_use]
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Whether the files have changed since they were read.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.read != self.seen
    }

    /// Whether the files had an error when they were last read.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Whether an announced generation of keys is new.
    pub fn announce(&mut self, generation: u64) -> bool {
        let is_newer = self.announced < generation;
        self.announced = self.announced.max(generation);
        is_newer
    }

    /// Decides what to do with files in the state `now`. `is_behind` is whether other workers have
    /// keys of a newer generation: the files are then read at once.
    pub fn check(&mut self, now: S, is_behind: bool) -> NextLook {
        let is_retry = self.error.as_mut().is_some_and(|(_, checks)| {
            *checks += 1;
            *checks % RETRY == 0
        });
        if is_behind {
            return NextLook::Read;
        }
        let is_settled = now == self.seen;
        self.seen = now;
        if !self.has_changed() && !is_retry {
            NextLook::Check(self.interval_ms)
        } else if !is_settled {
            NextLook::Check(self.settle_ms())
        } else {
            NextLook::Read
        }
    }

    /// Notes the states of the files before and after they were read. If they differ, what was read
    /// does not count; returns the milliseconds until the next check.
    pub fn finish(&mut self, before: &S, after: S) -> Option<u64> {
        self.seen = after;
        if *before != self.seen {
            return Some(self.settle_ms());
        }
        self.read = self.seen.clone();
        None
    }

    /// Notes whether the keys were accepted. Returns whether an error is to be reported: not if it
    /// is the same as before.
    pub fn note(&mut self, error: Option<&str>) -> bool {
        let known = self.error.as_ref().map(|(known, _)| &**known);
        let is_new = error.is_some() && error != known;
        if is_new || error.is_none() {
            self.error = error.map(|error| (error.to_owned(), 0));
        }
        is_new
    }

    fn settle_ms(&self) -> u64 {
        SETTLE_MS.min(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: NextLook = NextLook::Check(2_000);
    const SOON: NextLook = NextLook::Check(SETTLE_MS);

    fn watch() -> FileWatch<u32> {
        FileWatch::new(2_000, 1, 1)
    }

    #[test]
    fn files_are_read_when_they_have_changed_and_settled() {
        const READ: NextLook = NextLook::Read;
        let soon = NextLook::Check(60);
        for (interval_ms, checks) in [
            // Still being written at the third check.
            (2_000, &[(1, LATER), (2, SOON), (3, SOON), (3, READ)][..]),
            // The change is undone. It must settle again.
            (2_000, &[(2, SOON), (1, LATER), (2, SOON), (2, READ)]),
            // Files settle no longer than an interval.
            (60, &[(1, soon), (2, soon), (2, READ)]),
        ] {
            let mut watch = FileWatch::new(interval_ms, 1, 1);
            for (at, &(state, next)) in checks.iter().enumerate() {
                assert_eq!(watch.check(state, false), next, "{checks:?} at {at}");
            }
            let (last, _) = checks[checks.len() - 1];
            assert!(watch.has_changed());
            assert_eq!(watch.finish(&last, last), None);
            assert!(!watch.has_changed());
            let later = NextLook::Check(interval_ms);
            assert_eq!(watch.check(last, false), later);
        }
    }

    #[test]
    fn what_was_read_during_a_change_does_not_count() {
        let mut watch = watch();
        assert_eq!(watch.finish(&2, 3), Some(SETTLE_MS));
        assert!(watch.has_changed());
        assert_eq!(watch.check(3, false), NextLook::Read);
    }

    #[test]
    fn files_are_read_at_once_if_other_workers_have_newer_keys() {
        let mut watch = watch();
        assert_eq!(watch.check(2, true), NextLook::Read);
        assert_eq!(watch.check(1, true), NextLook::Read);
        assert!(watch.announce(7));
        assert!(!watch.announce(7));
        assert!(!watch.announce(6));
        assert!(watch.announce(8));
    }

    #[test]
    fn an_error_is_reported_once_and_read_again_from_time_to_time() {
        let mut watch = watch();
        assert!(watch.note(Some("wrong")));
        assert!(watch.has_error());
        for _ in 1..RETRY {
            assert_eq!(watch.check(1, false), LATER);
        }
        assert_eq!(watch.check(1, false), NextLook::Read);
        assert_eq!(watch.finish(&1, 1), None);
        assert!(!watch.note(Some("wrong")), "known");
        for _ in 1..RETRY {
            assert_eq!(watch.check(1, false), LATER);
        }
        assert_eq!(watch.check(1, false), NextLook::Read);
        assert!(watch.note(Some("other")));
        assert!(!watch.note(None));
        assert!(!watch.has_error());
        assert!(watch.note(Some("other")), "new again");
    }
}
