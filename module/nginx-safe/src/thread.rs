use core::mem::MaybeUninit;
use core::ptr;
use std::io;
use std::thread::{self, JoinHandle};

/// Work in a thread of its own, so that the event loop goes on.
pub struct Background<T>(JoinHandle<T>);

impl<T: Send + 'static> Background<T> {
    /// Begins it. It must touch nothing of nginx's.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        // Signals are the event loop's: a thread inherits that it gets none.
        let mask = block_signals();
        let started = thread::Builder::new().spawn(work);
        // SAFETY: the mask that `block_signals` got from the system.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, ptr::null_mut()) };
        Ok(Self(started?))
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// What came of it; waits for it. `None` if it panicked.
    pub fn result(self) -> Option<T> {
        self.0.join().ok()
    }
}

fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: both calls write the sets that they are given; zero is a valid set, too.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}
