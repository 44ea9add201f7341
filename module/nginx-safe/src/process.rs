use core::cell::Cell;
use core::ptr::NonNull;

use ngx::ffi::{
    NGX_PROCESS_HELPER, NGX_PROCESS_SIGNALLER, NGX_PROCESS_SINGLE, ngx_current_msec, ngx_cycle,
    ngx_cycle_t, ngx_exiting, ngx_log_t, ngx_parent, ngx_pid, ngx_process, ngx_test_config,
    ngx_timeofday, ngx_worker,
};

use crate::config::parse::ConfResult;

/// What a thread may do with nginx. A thread only moves to later stages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ThreadStage {
    /// Nothing: the thread is not nginx's.
    Outside,
    /// Read configurations: the process has no event loop yet.
    Configures,
    /// Everything: the process has an event loop.
    Serves,
    /// Use what needs no events: the event loop has ended, and the pool of the cycle is about to be
    /// destroyed.
    Ends,
}

thread_local! {
    static STAGE: Cell<ThreadStage> = const { Cell::new(ThreadStage::Outside) };
}

/// Moves this thread, which is nginx's, to a stage unless it is past it.
pub(crate) fn enter(stage: ThreadStage) {
    STAGE.set(STAGE.get().max(stage));
}

/// Whether this is nginx's thread, the only one that may read and write nginx's variables.
pub(crate) fn is_inside() -> bool {
    STAGE.get() != ThreadStage::Outside
}

/// Whether this thread runs an event loop.
pub(crate) fn has_events() -> bool {
    STAGE.get() == ThreadStage::Serves
}

/// Panics in a thread that is not nginx's, which could read a variable while nginx writes it.
#[track_caller]
fn assert_inside() {
    assert!(is_inside(), "not nginx's thread");
}

/// The cycle that this process runs.
pub(crate) fn cycle() -> NonNull<ngx_cycle_t> {
    assert_inside();
    // SAFETY: this is nginx's thread (Thread). `main` of nginx sets ngx_cycle before it reads the
    // first configuration; nginx never sets it to null.
    unsafe { NonNull::new_unchecked(ngx_cycle.cast()) }
}

/// The log of the current cycle. It is valid as long as the cycle.
pub(crate) fn cycle_log() -> NonNull<ngx_log_t> {
    // SAFETY: ngx_init_cycle gives each cycle a log. So do `main` of nginx for the cycle before the
    // first configuration, and ngx_worker_process_exit and ngx_master_process_exit for the one that
    // is used while the process exits (Cycle).
    unsafe { NonNull::new_unchecked(cycle().as_ref().log) }
}

/// Both clocks as nginx read them at the start of this turn of the event loop.
///
/// # Panics
/// In a thread that is not nginx's.
pub fn clocks() -> Clocks {
    assert_inside();
    let time = ngx_timeofday();
    Clocks {
        // SAFETY: a plain word that only nginx's thread writes (Thread), and this is that thread.
        mono_ms: unsafe { ngx_current_msec } as u64,
        wall_us: (time.sec as u64) * 1_000_000 + (time.msec as u64) * 1_000,
    }
}

/// A reading of nginx's clocks.
#[derive(Clone, Copy)]
pub struct Clocks {
    /// Milliseconds of the monotonic clock, since an unspecified start.
    pub mono_ms: u64,
    /// Microseconds since the Unix epoch, in steps of a millisecond.
    pub wall_us: u64,
}

/// The id of this process.
pub fn process_id() -> u32 {
    // SAFETY: nginx writes this word at its start and after each fork, before it calls a module in
    // the new process (Thread), so that any thread may read it.
    unsafe { ngx_pid as u32 }
}

/// In a worker, the id of the master. Without a master, the id of this process.
pub fn master_id() -> u32 {
    match kind() {
        NGX_PROCESS_SINGLE => process_id(),
        // SAFETY: nginx writes this word at its start and after each fork, before it calls a module
        // in the new process (Thread).
        _ => unsafe { ngx_parent as u32 },
    }
}

/// The kind of this process: one of NGX_PROCESS_*.
fn kind() -> u32 {
    assert_inside();
    // SAFETY: a plain word that only nginx's thread writes (Thread), and this is that thread.
    unsafe { ngx_process as u32 }
}

/// Fails if the process must not read another configuration: without a master, after the first one.
/// nginx does not tell modules there that the process changes to another cycle, and frees the zones
/// and configurations in use. A module that the first configuration did not use would never be
/// started.
pub(crate) fn may_configure(name: &str) -> ConfResult {
    // SAFETY: the cycle is not destroyed during a call (Cycle). conf_ctx is null in the cycle that
    // `main` of nginx makes for the time before the first configuration.
    let reloads = unsafe { !cycle().as_ref().conf_ctx.is_null() };
    if reloads && kind() == NGX_PROCESS_SINGLE {
        return Err(format!(
            "{name}: no reload with \"master_process off\"; restart nginx"
        ));
    }
    Ok(())
}

/// Whether this run only tests the configuration (`nginx -t`).
pub fn is_testing() -> bool {
    // SAFETY: nginx writes this word while it reads its command line, before it calls a module
    // (Thread), so that any thread may read it.
    unsafe { ngx_test_config != 0 }
}

/// Whether this worker is shutting down: it finishes its requests and accepts no more.
pub(crate) fn is_exiting() -> bool {
    assert_inside();
    // SAFETY: a plain word that only nginx's thread writes (Thread), and this is that thread.
    unsafe { ngx_exiting != 0 }
}

/// Whether this is the first worker of its configuration, which logs what all of them would log.
/// Also `true` in the master, and in the cache manager and loader.
pub fn is_first_worker() -> bool {
    // SAFETY: nginx writes this word after the fork, before it calls a module in the worker
    // (Thread), so that any thread may read it.
    unsafe { ngx_worker == 0 }
}

/// The version of this nginx.
pub fn nginx_version() -> String {
    // nginx only loads modules that were built for its own version.
    let version = ngx::ffi::NGINX_VERSION.to_str();
    version.unwrap_or_default().to_owned()
}

/// `false` in the cache manager and the cache loader.
pub fn serves_requests() -> bool {
    kind() != NGX_PROCESS_HELPER
}

/// Whether this process only sends a signal (`nginx -s`). It reads the configuration in the
/// caller's environment, which may differ from the server's.
pub(crate) fn only_signals() -> bool {
    kind() == NGX_PROCESS_SIGNALLER
}

/// Whether a process exists.
pub fn alive(pid: u32) -> bool {
    // SAFETY: nginx is not involved. kill is a system call without pointers. Signal 0 only checks
    // whether the process exists.
    let found = unsafe { libc::kill(pid as libc::pid_t, 0) } == 0;
    found || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Milliseconds of the monotonic clock, read now.
pub fn monotonic_ms() -> u64 {
    // SAFETY: nginx is not involved. clock_gettime is a system call that fills the structure, for
    // which all-zero bytes are valid.
    let time = unsafe {
        let mut time: libc::timespec = core::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// The host name of this machine, in the form that nginx logs.
pub fn host_name() -> String {
    // SAFETY: ngx_init_cycle puts the text into the pool of the cycle, which is not destroyed
    // during a call (Cycle). It is empty in the other cycles.
    unsafe {
        let name = &cycle().as_ref().hostname;
        String::from_utf8_lossy(crate::text::bytes_of(name)).into_owned()
    }
}
