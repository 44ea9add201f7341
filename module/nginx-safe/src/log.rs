use core::ptr::NonNull;
use std::io::{self, Write as _};
use std::panic;
use std::sync::OnceLock;

use ngx::ffi::{
    NGX_LOG_ALERT, NGX_LOG_DEBUG, NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_NOTICE,
    NGX_LOG_WARN, ngx_log_t,
};
use ngx::ngx_log_error;

use crate::process;

/// The level of a line in the error log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `emerg`: nginx cannot start or continue.
    Emergency,
    /// `alert`: an error of the program itself.
    Alert,
    /// `error`: something failed.
    Error,
    /// `warn`: something may fail.
    Warn,
    /// `notice`: a change of state.
    Notice,
    /// `info`: normal operation.
    Info,
    /// `debug`: for developers.
    Debug,
}

impl Level {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Emergency => NGX_LOG_EMERG,
            Self::Alert => NGX_LOG_ALERT,
            Self::Error => NGX_LOG_ERR,
            Self::Warn => NGX_LOG_WARN,
            Self::Notice => NGX_LOG_NOTICE,
            Self::Info => NGX_LOG_INFO,
            Self::Debug => NGX_LOG_DEBUG,
        }
    }
}

/// Whether the running cycle logs lines of this level. Always `false` in a thread that is not
/// nginx's.
pub fn is_logged(level: Level) -> bool {
    // SAFETY: this is nginx's thread (Thread), and `cycle_log` is the log of the running cycle,
    // which is not destroyed during a call (Cycle).
    process::is_inside()
        && unsafe { process::cycle_log().as_ref().log_level >= level.number() as usize }
}

/// Writes to the error log of the running cycle. Does nothing in a thread that is not nginx's.
pub fn write(level: Level, message: &str) {
    if process::is_inside() {
        // SAFETY: nginx keeps the log of a cycle as long as the cycle, which is not destroyed during
        // a call (Cycle).
        unsafe { write_to(process::cycle_log(), level, message) };
    }
}

/// # Safety
/// `log` must be live.
pub(crate) unsafe fn write_to(log: NonNull<ngx_log_t>, level: Level, message: &str) {
    // SAFETY (of the macro's dereference): the caller guarantees the log.
    ngx_log_error!(level.number(), log.as_ptr(), "{message}");
}

/// The module's name, for messages about panics.
static NAME: OnceLock<&str> = OnceLock::new();

/// Writes messages about panics to the error log instead of standard error.
pub(crate) fn route_panics(name: &'static str) {
    let _ = NAME.set(name);
    // The closure captures nothing, so that boxing it allocates nothing, which would leak when the
    // module is unloaded.
    panic::set_hook(Box::new(|info| {
        let name = NAME.get().unwrap_or(&"");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if process::is_inside() {
            let message = format!("{name}: panicked at {place}; the request is dropped");
            write(Level::Alert, &message);
        } else {
            let _ = writeln!(io::stderr(), "{name}: a thread panicked at {place}");
        }
    }));
}

/// Turns a message about the configuration into a form that may be logged, given the words of the
/// directive that it is about.
pub(crate) type Show = fn(message: &str, words: &[&str]) -> String;

static SHOW: OnceLock<Show> = OnceLock::new();

/// Sets the function for messages about the configuration, which may repeat a secret.
pub(crate) fn show_by(show: Show) {
    // Each configuration sets the same function.
    let _ = SHOW.set(show);
}

/// A message about the configuration in a form that may be logged.
pub(crate) fn shown(message: &str, words: &[&str]) -> String {
    SHOW.get()
        .map_or_else(|| message.to_owned(), |show| show(message, words))
}
