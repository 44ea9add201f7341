use core::ffi::c_void;
use core::mem::{self, MaybeUninit};
use core::ptr;
use std::io;
use std::thread::{self, JoinHandle};

use crate::process;

/// A closure that runs in a thread of its own, so that it does not block the event loop. If this
/// value is dropped, the thread continues until it has finished or the process ends.
///
/// The closure cannot use nginx: the types of this crate that refer to nginx are not `Send`, and
/// the functions that read nginx's variables check the thread.
///
/// ```compile_fail,E0277
/// fn send(timer: nginx_safe::Timer) {
///     let _ = nginx_safe::Background::start(move || drop(timer));
/// }
/// ```
pub struct Background<T>(JoinHandle<T>);

impl<T: Send + 'static> Background<T> {
    /// Starts the thread. Fails with `Unsupported` in a process without an event loop.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        if !process::has_events() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        stay_loaded()?;
        // Signals must be handled by the event loop's thread: the new thread inherits a mask that
        // blocks all of them.
        let mask = block_signals();
        let started = thread::Builder::new().spawn(work);
        // SAFETY: nginx is not involved. pthread_sigmask reads the mask that `block_signals` has
        // got from the system.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, ptr::null_mut()) };
        Ok(Self(started?))
    }

    /// Whether the closure has finished.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// The result of the closure; blocks until it has finished. `None` if it panicked.
    pub fn result(self) -> Option<T> {
        self.0.join().ok()
    }
}

/// Keeps this shared object loaded until the process ends. Otherwise nginx would unload it together
/// with the cycle, while a thread may still run its code.
fn stay_loaded() -> io::Result<()> {
    let base = |place: *const c_void| {
        // SAFETY: nginx is not involved. All-zero bytes are a valid Dl_info, and dladdr fills it.
        // It does not read the memory at `place`.
        unsafe {
            let mut found: libc::Dl_info = mem::zeroed();
            (libc::dladdr(place, &raw mut found) != 0).then_some(found)
        }
    };
    let own = base(stay_loaded as *const c_void);
    let own = own.ok_or_else(|| io::Error::other("a code without a name"))?;
    // SAFETY: dladdr has returned the name of a loaded object, NUL-terminated, which stays loaded
    // while its code runs. RTLD_NOLOAD prevents loading another one.
    let kept = unsafe {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        libc::dlopen(own.dli_fname, flags)
    };
    if kept.is_null() {
        return Err(io::Error::other("the module cannot be kept loaded"));
    }
    Ok(())
}

fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: nginx is not involved. sigfillset and pthread_sigmask initialise the sets that they
    // are given; all-zero bytes are a valid set too.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}
