use core::ptr::NonNull;

use ngx::core::NGX_CONF_OK;
use ngx::ffi::{
    ngx_conf_open_file, ngx_open_file_t, ngx_pcalloc, ngx_str_t, ngx_syslog_add_header,
    ngx_syslog_peer_t, ngx_syslog_process_conf, ngx_syslog_send,
};

use crate::config::parse::Conf;
use crate::in_force;
use crate::log::Level;

/// Room for the header that nginx writes before a message to syslog: priority, time, host name (at
/// most 256 bytes) and tag (at most 32).
const HEADER: usize = 512;

/// A log of lines without nginx's prefix: syslog, or a file that nginx keeps open and reopens on
/// `nginx -s reopen`. It belongs to a configuration.
#[derive(Clone, Copy)]
pub(crate) struct LineLog {
    target: LogTarget,
    least: Level,
}

#[derive(Clone, Copy)]
enum LogTarget {
    File(NonNull<ngx_open_file_t>),
    Syslog(NonNull<ngx_syslog_peer_t>),
}

impl Conf {
    /// Opens the line log of the configuration being read. The first argument of the directive is
    /// the target, as for `error_log`; lines of level `least` and above are written. `Err(None)`
    /// means that nginx has logged the error.
    pub fn open_line_log(&mut self, least: Level) -> Result<(), Option<String>> {
        let no_memory = || Some("no memory".to_string());
        let words = self.words()?;
        let word = *words
            .get(1)
            .ok_or_else(|| Some("needs an argument".to_string()))?;
        let (is_syslog, is_stderr) = (word.starts_with("syslog:"), word == "stderr");
        // SAFETY: nginx creates the cycle and its pool before it reads the configuration, so both
        // are live (Configuration). `words` has found a second element in `args`;
        // ngx_conf_read_token terminates each with a NUL. ngx_conf_open_file and
        // ngx_syslog_process_conf use memory of the same pool, so that it is freed with the cycle
        // (Pool).
        let target = unsafe {
            let cf = self.0;
            if is_syslog {
                let peer = ngx_pcalloc((*cf).pool, size_of::<ngx_syslog_peer_t>());
                let peer = NonNull::new(peer.cast::<ngx_syslog_peer_t>()).ok_or_else(no_memory)?;
                if ngx_syslog_process_conf(cf, peer.as_ptr()) != NGX_CONF_OK {
                    return Err(None);
                }
                LogTarget::Syslog(peer)
            } else {
                let mut name = *(*(*cf).args).elts.cast::<ngx_str_t>().add(1);
                if is_stderr {
                    name = ngx_str_t::empty();
                    // Otherwise nginx would replace standard error by the error log.
                    (*(*cf).cycle).log_use_stderr = 1;
                }
                let file = ngx_conf_open_file((*cf).cycle, &raw mut name);
                LogTarget::File(NonNull::new(file).ok_or_else(no_memory)?)
            }
        };
        in_force::declare_line_log(LineLog { target, least });
        Ok(())
    }
}

/// Whether the configuration in force has a line log that includes lines of this level.
pub fn takes_line(level: Level) -> bool {
    in_force::line_log().is_some_and(|log| level.number() <= log.least.number())
}

/// Writes a line to the line log of the configuration in force, if it includes this level. If
/// writing fails, the line is lost, as with nginx's own logs.
pub fn log_line(level: Level, line: &str) {
    let Some(log) = in_force::line_log().filter(|_| takes_line(level)) else {
        return;
    };
    match log.target {
        LogTarget::File(file) => {
            let bytes = [line.as_bytes(), b"\n"].concat();
            // SAFETY: ngx_conf_open_file keeps the record of a file in the pool of the cycle, which
            // is in force and so not destroyed during a call (Cycle). ngx_init_cycle opens the file
            // before it calls init_module.
            unsafe { libc::write(file.as_ref().fd, bytes.as_ptr().cast(), bytes.len()) };
        }
        LogTarget::Syslog(peer) => {
            let peer = peer.as_ptr();
            let mut bytes = vec![0; HEADER + line.len()];
            // SAFETY: the record is in the pool of the cycle, which is in force and so not
            // destroyed during a call (Cycle). ngx_syslog_add_header writes at most `HEADER` bytes,
            // and `bytes` has room for these and the line. `busy` keeps errors that nginx logs
            // while it sends from being sent to the same peer, as in ngx_syslog_writer.
            unsafe {
                if (*peer).busy() != 0 {
                    return;
                }
                (*peer).set_busy(1);
                (*peer).severity = level.number() as usize - 1;
                let end = ngx_syslog_add_header(peer, bytes.as_mut_ptr());
                let header = end.offset_from_unsigned(bytes.as_ptr());
                bytes[header..header + line.len()].copy_from_slice(line.as_bytes());
                ngx_syslog_send(peer, bytes.as_mut_ptr(), header + line.len());
                (*peer).set_busy(0);
            }
        }
    }
}
