use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The number of tries, 10 ms apart: five seconds.
const TRIES: u32 = 500;

/// An exclusive lock on a directory, between processes. Dropping it, or the end of the process,
/// releases it.
pub struct FolderLock(#[expect(dead_code, reason = "holds the lock")] File);

impl FolderLock {
    /// Takes the lock. Blocks for up to five seconds, then returns an error of kind `TimedOut`. Do
    /// not call it in the event loop.
    pub fn take(folder: &Path) -> io::Result<Self> {
        let folder = File::open(folder)?;
        for _ in 0..TRIES {
            // SAFETY: nginx is not involved. flock is a system call without pointers. `folder`
            // keeps the descriptor open during it.
            let done = unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
            if done == 0 {
                return Ok(Self(folder));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}
