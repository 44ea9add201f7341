use core::cell::Cell;
use core::ptr::NonNull;

use ngx::core::NGX_CONF_OK;
use ngx::ffi::{
    ngx_conf_open_file, ngx_open_file_t, ngx_pcalloc, ngx_str_t, ngx_syslog_add_header,
    ngx_syslog_peer_t, ngx_syslog_process_conf, ngx_syslog_send,
};

use crate::config::parse::Conf;
use crate::log::Level;

/// What nginx puts in front of a message to syslog is shorter: priority, time, the name of
/// the host (256 bytes at most) and a tag (32).
const HEADER: usize = 512;

/// A log of lines of our own, without nginx's prefix: a file that nginx keeps open and opens
/// anew on `nginx -s reopen`, or syslog.
///
/// It belongs to the configuration: nginx drops both together.
pub struct LineLog {
    target: Target,
    least: Level,
}

#[derive(Clone, Copy, PartialEq)]
enum Target {
    File(NonNull<ngx_open_file_t>),
    Syslog(NonNull<ngx_syslog_peer_t>),
}

thread_local! {
    /// That of the configuration in force.
    static IN_FORCE: Cell<Option<(Target, Level)>> = const { Cell::new(None) };
}

impl LineLog {
    /// Opens what the first argument of the directive being read names, as `error_log` would,
    /// for lines of this level and above. `Err(None)` when nginx has said what is wrong.
    pub fn open(conf: &mut Conf, least: Level) -> Result<Self, Option<String>> {
        let no_memory = || Some("no memory".to_string());
        let is = |prefix| {
            let words = conf.words();
            words.is_ok_and(|words| words.get(1).is_some_and(|w| w.starts_with(prefix)))
        };
        let (is_syslog, is_stderr) = (is("syslog:"), is("stderr"));
        // SAFETY: nginx reads a directive with an argument or more: args has two elements at
        // least, each with a NUL behind it. The configuration, its cycle and its pool live
        // until the cycle ends, and so does what is made of them here.
        let target = unsafe {
            let cf = conf.0;
            if is_syslog {
                let peer = ngx_pcalloc((*cf).pool, size_of::<ngx_syslog_peer_t>());
                let peer = NonNull::new(peer.cast::<ngx_syslog_peer_t>()).ok_or_else(no_memory)?;
                if ngx_syslog_process_conf(cf, peer.as_ptr()) != NGX_CONF_OK {
                    return Err(None);
                }
                Target::Syslog(peer)
            } else {
                let mut name = *(*(*cf).args).elts.cast::<ngx_str_t>().add(1);
                if is_stderr && name.len == "stderr".len() {
                    name = ngx_str_t::empty();
                    // Or nginx would put the error log in its place.
                    (*(*cf).cycle).log_use_stderr = 1;
                }
                let file = ngx_conf_open_file((*cf).cycle, &raw mut name);
                Target::File(NonNull::new(file).ok_or_else(no_memory)?)
            }
        };
        Ok(Self { target, least })
    }

    /// From here on lines go to this log, or to none.
    pub fn put_in_force(log: Option<&Self>) {
        IN_FORCE.set(log.map(|log| (log.target, log.least)));
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        if IN_FORCE
            .get()
            .is_some_and(|(target, _)| target == self.target)
        {
            IN_FORCE.set(None);
        }
    }
}

/// Whether there is a log of lines that wants those of this level.
pub fn takes_line(level: Level) -> bool {
    let least = IN_FORCE.get().map(|(_, least)| least);
    least.is_some_and(|least| level.number() <= least.number())
}

/// Writes a line to that log. A line that cannot be written is lost, as in nginx's own logs.
pub fn log_line(level: Level, line: &str) {
    let Some((target, _)) = IN_FORCE.get().filter(|_| takes_line(level)) else {
        return;
    };
    match target {
        Target::File(file) => {
            let bytes = [line.as_bytes(), b"\n"].concat();
            // SAFETY: the file is nginx's own record, which lives as long as the configuration
            // in force, see `drop`; nginx opens it for appending, before any worker starts.
            unsafe { libc::write(file.as_ref().fd, bytes.as_ptr().cast(), bytes.len()) };
        }
        Target::Syslog(peer) => {
            let peer = peer.as_ptr();
            let mut bytes = vec![0; HEADER + line.len()];
            // SAFETY: as above. The header fits, see `HEADER`, and the line behind it. nginx
            // marks a peer as busy while it sends to it: what it logs meanwhile is not for it.
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
