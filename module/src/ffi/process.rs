use ngx::ffi::{
    NGX_PROCESS_HELPER, NGX_PROCESS_SIGNALLER, ngx_current_msec, ngx_cycle_t, ngx_pid, ngx_process,
    ngx_timeofday, ngx_worker,
};

/// The configuration cycle that a process runs.
#[derive(Clone, Copy)]
pub struct Cycle(pub(crate) *mut ngx_cycle_t);

/// Both clocks as nginx read them at the start of this turn of the event loop.
pub fn clocks() -> Clocks {
    let time = ngx_timeofday();
    Clocks {
        // SAFETY: a plain word that only this thread writes; monotonic since nginx 1.13.
        mono_ms: unsafe { ngx_current_msec } as u64,
        wall_us: (time.sec as u64) * 1_000_000 + (time.msec as u64) * 1_000,
    }
}

/// A reading of nginx's clocks.
#[derive(Clone, Copy)]
pub struct Clocks {
    /// Monotonic milliseconds.
    pub mono_ms: u64,
    /// Wall-clock microseconds.
    pub wall_us: u64,
}

/// This process.
pub fn process_id() -> u32 {
    // SAFETY: written once, before any module code runs in the process.
    unsafe { ngx_pid as u32 }
}

/// The worker's number among those of its configuration; `None` in processes
/// that serve no requests (cache manager, cache loader).
pub fn worker_number() -> Option<u32> {
    // SAFETY: both are written once, before modules are initialised in a process.
    let (process, number) = unsafe { (ngx_process as u32, ngx_worker as u32) };
    (process != NGX_PROCESS_HELPER).then_some(number)
}

/// Whether this run only sends a signal (`nginx -s`): it parses the
/// configuration in the caller's environment, which need not be the server's.
pub(crate) fn only_signals() -> bool {
    // SAFETY: written once, while nginx reads its command line.
    unsafe { ngx_process as u32 == NGX_PROCESS_SIGNALLER }
}

/// Whether a process exists.
pub fn alive(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let found = unsafe { libc::kill(pid as libc::pid_t, 0) } == 0;
    found || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Milliseconds of the monotonic clock, read now.
pub fn monotonic_ms() -> u64 {
    // SAFETY: a system call that fills the structure.
    let time = unsafe {
        let mut time: libc::timespec = core::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}
