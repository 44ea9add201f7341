//! The configuration while nginx reads it.
//!
//! # Guarantees
//!
//! A [`Conf`] is live: nginx passes the `ngx_conf_t` to each configuration callback, and the value
//! does not outlive the callback (Call in the crate's documentation). Before nginx reads a
//! configuration it sets the `ngx_conf_t`'s cycle, pool, log and `args` (Configuration).

use core::ffi::{c_char, c_void};
use core::fmt;
use core::ptr::{self, NonNull};
use std::rc::Rc;

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_MODULE, NGX_LOG_EMERG, NGX_LOG_WARN, NGX_OK, ngx_array_push, ngx_command_t,
    ngx_conf_full_name, ngx_conf_parse, ngx_conf_t, ngx_core_conf_t, ngx_core_module, ngx_int_t,
    ngx_str_t, ngx_uint_t,
};
use ngx::ngx_conf_log_error;

use crate::log::{Level, write_to};
use crate::process::only_signals;
use crate::text::{bytes_of, copy_into};

/// The result of reading a directive; the error is the text that is logged.
pub type ConfResult<T = ()> = Result<T, String>;

/// The file and line of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    file: Rc<str>,
    line: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Position {
    /// An error about the directive at this position.
    pub fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake {
            message: message.into(),
            at: Some(self.clone()),
        }
    }
}

/// An error in directives that have already been read, with its position if known.
#[derive(Debug)]
pub struct Mistake {
    message: String,
    at: Option<Position>,
}

impl From<String> for Mistake {
    fn from(message: String) -> Self {
        Self { message, at: None }
    }
}

/// The configuration while nginx reads it. Borrowed for one callback.
pub struct Conf(pub(crate) *mut ngx_conf_t);

/// One directive inside a block that [`Conf::block`] reads.
pub struct Block<'a> {
    /// The name and the arguments of the directive.
    pub words: &'a [&'a str],
}

impl Conf {
    fn raw(&self) -> &ngx_conf_t {
        // SAFETY: nginx passes a live ngx_conf_t to each configuration callback, and a `Conf` does
        // not outlive the callback (Call).
        unsafe { &*self.0 }
    }

    /// The name and the arguments of the directive being read.
    pub fn words(&self) -> ConfResult<Vec<&str>> {
        // SAFETY: ngx_init_cycle creates `args` as an array of ngx_str_t in the pool of the cycle,
        // and ngx_conf_parse only pushes whole elements (Lists). A `Conf` is live (see `Conf`).
        let args = unsafe { (*self.raw().args).as_slice::<ngx_str_t>() };
        // SAFETY: the text of each element is in the pool of the cycle, too (Pool).
        let args = args.iter().map(|word| unsafe { bytes_of(word) });
        let text = |word| str::from_utf8(word).map_err(|_| "not UTF-8".to_string());
        args.map(text).collect()
    }

    /// Logs an error with the file and line being read.
    pub fn reject(&self, message: &str) {
        let message = self.shown(message);
        // SAFETY (of the macro): a `Conf` is live, and so is its log, which nginx sets before it
        // reads a configuration (see `Conf`).
        ngx_conf_log_error!(NGX_LOG_EMERG, self.0, "{message}");
    }

    /// Logs an error in directives that have already been read, with its own position if known.
    pub fn reject_later(&self, mistake: &Mistake) {
        let mut message = self.shown(&mistake.message);
        if let Some(at) = &mistake.at {
            message = format!("{message} in {at}");
        }
        if let Some(log) = NonNull::new(self.raw().log) {
            // SAFETY: a `Conf` is live, and so is its log (see `Conf`).
            unsafe { write_to(log, Level::Emergency, &message) };
        }
    }

    /// The position of the directive being read.
    pub fn position(&self) -> Position {
        // SAFETY: `conf_file` is null or on the stack of ngx_conf_parse, which is waiting for this
        // callback. Its `name` is in the pool of the cycle (Pool).
        let (file, line) = unsafe {
            let file = self.raw().conf_file.as_ref();
            file.map_or((&[][..], 0), |file| (bytes_of(&file.file.name), file.line))
        };
        Position {
            file: String::from_utf8_lossy(file).into(),
            line,
        }
    }

    /// Whether a loaded HTTP module has a directive of this name.
    pub fn has_directive(&self, name: &str) -> bool {
        // SAFETY: ngx_cycle_modules ends the list of modules with null, and a module ends its
        // directives with an empty name, as nginx itself requires (Modules). nginx unloads a module
        // only with the cycle.
        unsafe {
            let mut module = (*self.raw().cycle).modules;
            while let Some(known) = (*module).as_ref() {
                let is_http = known.type_ == NGX_HTTP_MODULE as ngx_uint_t;
                let mut command = if is_http {
                    known.commands
                } else {
                    ptr::null_mut()
                };
                while let Some(known) = command.as_ref().filter(|known| known.name.len > 0) {
                    if bytes_of(&known.name) == name.as_bytes() {
                        return true;
                    }
                    command = command.add(1);
                }
                module = module.add(1);
            }
        }
        false
    }

    /// Logs a warning with the file and line being read.
    pub fn warn(&self, message: &str) {
        let message = self.shown(message);
        // SAFETY (of the macro): a `Conf` is live, and so is its log, which nginx sets before it
        // reads a configuration (see `Conf`).
        ngx_conf_log_error!(NGX_LOG_WARN, self.0, "{message}");
    }

    /// A message in a form that may be logged: the arguments repeated in it may be secrets.
    fn shown(&self, message: &str) -> String {
        crate::log::shown(message, &self.words().unwrap_or_default())
    }

    /// Reads a block, calling `read` for each directive in it. Stops at the first error, which is
    /// logged before this returns.
    #[expect(clippy::result_unit_err, reason = "the error has been logged")]
    pub fn block(
        &mut self,
        mut read: impl FnMut(&Self, Block<'_>) -> ConfResult,
    ) -> Result<(), ()> {
        let mut reader: &mut Reader<'_> = &mut read;
        // SAFETY: ngx_conf_parse passes cf and handler_conf to `handler` for each directive, and
        // does not keep them after it has returned. They point to this frame, which outlives that
        // call. nginx's own blocks (map, types) do the same. All fields of cf are restored
        // afterwards.
        let answer = unsafe {
            let saved = *self.0;
            (*self.0).handler = Some(block_entry);
            (*self.0).handler_conf = (&raw mut reader).cast();
            let answer = ngx_conf_parse(self.0, ptr::null_mut());
            *self.0 = saved;
            answer
        };
        if answer == NGX_CONF_OK {
            Ok(())
        } else {
            Err(())
        }
    }

    /// Resolves a path as nginx does: relative paths start at the directory of the configuration
    /// file.
    pub fn full_path(&self, path: &str) -> ConfResult<String> {
        // SAFETY: nginx creates the cycle and its pool before it reads the configuration, so both
        // are live (Configuration). ngx_conf_full_name expects a NUL-terminated name in pool
        // memory, and replaces it.
        unsafe {
            let mut name = path.as_bytes().to_vec();
            name.push(0);
            let mut name = copy_into(self.raw().pool, &name).ok_or("no memory")?;
            name.len -= 1;
            if ngx_conf_full_name(self.raw().cycle, &raw mut name, 1) != NGX_OK as ngx_int_t {
                return Err("no memory".into());
            }
            Ok(String::from_utf8_lossy(bytes_of(&name)).into_owned())
        }
    }

    /// An environment variable of the process that reads the configuration. The variable is also
    /// kept for workers and for the next binary, as by `env NAME;`; nginx would remove it
    /// otherwise.
    pub fn environment(&self, name: &str) -> Option<String> {
        self.keep_environment(name);
        std::env::var(name).ok()
    }

    fn keep_environment(&self, name: &str) {
        // SAFETY: ngx_init_cycle calls create_conf of the core modules before it reads the first
        // directive; ngx_core_module_create_conf makes `env` an array of ngx_str_t in the pool of
        // the cycle (Configuration, Pool).
        unsafe {
            let core = *(*self.raw().cycle).conf_ctx.add(ngx_core_module.index);
            let core = core.cast::<*mut c_void>().cast::<ngx_core_conf_t>();
            if core.is_null() {
                return;
            }
            let env = &raw mut (*core).env;
            let known = (*env)
                .as_slice::<ngx_str_t>()
                .iter()
                .any(|e| bytes_of(e) == name.as_bytes());
            if known {
                return;
            }
            // nginx reads the byte after each name, to find a "=".
            let with_nul = [name.as_bytes(), &[0]].concat();
            if let Some(mut name) = copy_into(self.raw().pool, &with_nul) {
                name.len -= 1;
                let place = ngx_array_push(env).cast::<ngx_str_t>();
                if !place.is_null() {
                    *place = name;
                }
            }
        }
    }

    /// The number of workers in the configuration; at least 1.
    pub fn workers(&self) -> usize {
        // SAFETY: ngx_init_cycle sets conf_ctx and calls create_conf of the core modules before it
        // reads the first directive (Configuration). A `Conf` is live (see `Conf`).
        let core = unsafe {
            let core = *(*self.raw().cycle).conf_ctx.add(ngx_core_module.index);
            core.cast::<ngx_core_conf_t>().as_ref()
        };
        core.map_or(1, |core| core.worker_processes.max(1) as usize)
    }

    /// Whether this process only sends a signal (`nginx -s reload`). It runs in the caller's
    /// environment, in which the secrets named in the configuration may be missing.
    pub fn only_signals(&self) -> bool {
        only_signals()
    }
}

type Reader<'a> = dyn FnMut(&Conf, Block<'_>) -> ConfResult + 'a;

unsafe extern "C" fn block_entry(
    cf: *mut ngx_conf_t,
    _dummy: *mut ngx_command_t,
    reader: *mut c_void,
) -> *mut c_char {
    crate::guard(NGX_CONF_ERROR, || {
        // SAFETY: ngx_conf_parse passes handler_conf, which `Conf::block` has set to a pointer to
        // its frame. That frame is waiting for ngx_conf_parse, and does not use the closure
        // meanwhile.
        let read: &mut &mut Reader<'_> = unsafe { &mut *reader.cast() };
        let conf = Conf(cf);
        let said = conf
            .words()
            .and_then(|words| read(&conf, Block { words: &words }));
        match said {
            Ok(()) => NGX_CONF_OK,
            Err(message) => {
                conf.reject(&message);
                NGX_CONF_ERROR
            }
        }
    })
}

pub(crate) fn status(ok: bool) -> ngx_int_t {
    if ok {
        NGX_OK as ngx_int_t
    } else {
        NGX_ERROR as ngx_int_t
    }
}
