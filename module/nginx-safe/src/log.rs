use core::ptr::NonNull;
use std::panic;
use std::sync::OnceLock;

use ngx::ffi::{
    NGX_LOG_ALERT, NGX_LOG_DEBUG, NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_NOTICE,
    NGX_LOG_WARN, ngx_log_t,
};
use ngx::log::ngx_cycle_log;
use ngx::ngx_log_error;

/// How much a line of the error log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `emerg`: nginx cannot start or go on.
    Emergency,
    /// `alert`: a fault of the program.
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

/// Whether lines of this level are written at all.
pub fn is_logged(level: Level) -> bool {
    // SAFETY: nginx keeps the log of a cycle for as long as the cycle.
    unsafe { ngx_cycle_log().as_ref().log_level >= level.number() as usize }
}

/// Writes to the error log of the running cycle.
pub fn write(level: Level, message: &str) {
    write_to(ngx_cycle_log(), level, message);
}

pub(crate) fn write_to(log: NonNull<ngx_log_t>, level: Level, message: &str) {
    // SAFETY (of the macro's dereference): nginx keeps the log of a cycle or of a
    // connection for as long as the cycle or the connection.
    ngx_log_error!(level.number(), log.as_ptr(), "{message}");
}

/// Sends the messages of panics to the error log instead of standard error.
pub(crate) fn route_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        write(
            Level::Alert,
            &format!("openai: panicked at {place}; the request is dropped"),
        );
    }));
}

/// What a module makes of its messages about the configuration, given the words of the
/// directive that they are about.
pub(crate) type Show = fn(message: &str, words: &[&str]) -> String;

static SHOW: OnceLock<Show> = OnceLock::new();

/// Sets what becomes of messages about the configuration: they may repeat a secret.
pub(crate) fn show_by(show: Show) {
    // It is the same each time that a configuration is read.
    let _ = SHOW.set(show);
}

/// A message about the configuration as it may be written.
pub(crate) fn shown(message: &str, words: &[&str]) -> String {
    SHOW.get()
        .map_or_else(|| message.to_owned(), |show| show(message, words))
}
