use core::sync::atomic::{AtomicBool, Ordering};

use ngx::ffi::{
    NGX_PROCESS_HELPER, NGX_PROCESS_SIGNALLER, NGX_PROCESS_SINGLE, ngx_current_msec, ngx_cycle,
    ngx_cycle_t, ngx_parent, ngx_pid, ngx_process, ngx_test_config, ngx_timeofday, ngx_worker,
};

use crate::config::parse::ConfResult;

/// The configuration cycle that a process runs.
#[derive(Clone, Copy)]
pub struct Cycle(pub(crate) *mut ngx_cycle_t);

impl Cycle {
    /// That of this process.
    pub fn running() -> Self {
        // SAFETY: set before any module is initialised in a process.
        Self(unsafe { ngx_cycle }.cast())
    }
}

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

/// The process that starts the workers.
pub fn master_id() -> u32 {
    // SAFETY: written once, before any module code runs in the process.
    match unsafe { ngx_process as u32 } {
        NGX_PROCESS_SINGLE => process_id(),
        // SAFETY: as above.
        _ => unsafe { ngx_parent as u32 },
    }
}

/// Whether this process serves requests without a master.
static ALONE: AtomicBool = AtomicBool::new(false);

/// The process begins to serve requests.
pub(crate) fn note_start() {
    // SAFETY: written once, before modules are initialised in a process.
    let alone = unsafe { ngx_process as u32 == NGX_PROCESS_SINGLE };
    ALONE.store(alone, Ordering::Relaxed);
}

/// Whether a configuration can be read. Without a master, nginx does not tell modules that
/// the process goes over to another one, and frees the zone and the settings that it runs by.
pub(crate) fn may_configure() -> ConfResult {
    if ALONE.load(Ordering::Relaxed) {
        return Err("openai: no reload with \"master_process off\"; restart nginx".into());
    }
    Ok(())
}

/// Whether this run only tests the configuration (`nginx -t`).
pub fn is_testing() -> bool {
    // SAFETY: written once, while nginx reads its command line.
    unsafe { ngx_test_config != 0 }
}

/// Whether this is the first of the workers of its configuration: the one to say what
/// all of them would.
pub fn is_first_worker() -> bool {
    // SAFETY: written once, before modules are initialised in a process.
    unsafe { ngx_worker == 0 }
}

/// The version of this nginx.
pub fn nginx_version() -> String {
    // nginx loads no module that was built for another version.
    let version = ngx::ffi::NGINX_VERSION.to_str();
    version.unwrap_or_default().to_owned()
}

/// Whether this process serves requests: not the cache manager and loader.
pub fn serves_requests() -> bool {
    // SAFETY: written once, before modules are initialised in a process.
    unsafe { ngx_process as u32 != NGX_PROCESS_HELPER }
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

/// The name of this machine, as nginx logs it.
pub fn host_name() -> String {
    // SAFETY: filled before modules are initialised, and not changed after.
    let name = unsafe { (*ngx_cycle).hostname };
    String::from_utf8_lossy(crate::text::bytes_of(&name)).into_owned()
}
