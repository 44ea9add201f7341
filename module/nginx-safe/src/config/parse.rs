use core::ffi::{c_char, c_void};
use core::ptr;

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{
    NGX_ERROR, NGX_LOG_EMERG, NGX_LOG_WARN, NGX_OK, ngx_array_push, ngx_command_t,
    ngx_conf_full_name, ngx_conf_parse, ngx_conf_t, ngx_core_conf_t, ngx_core_module, ngx_int_t,
    ngx_str_t,
};
use ngx::ngx_conf_log_error;

use crate::process::only_signals;
use crate::text::{bytes_of, copy_into};

/// What is wrong with a directive, as the line in the log shall say it.
pub type ConfResult<T = ()> = Result<T, String>;

/// The configuration while nginx reads it.
pub struct Conf(pub(crate) *mut ngx_conf_t);

/// One directive inside a block of ours.
pub struct Block<'a> {
    /// Its name and arguments.
    pub words: &'a [&'a str],
}

impl Conf {
    fn raw(&self) -> &ngx_conf_t {
        // SAFETY: nginx passes a live ngx_conf_t to every configuration callback,
        // and a Conf never outlives the callback.
        unsafe { &*self.0 }
    }

    /// The name and the arguments of the directive being read.
    pub fn words(&self) -> ConfResult<Vec<&str>> {
        // SAFETY: while a directive is read, args is an array of ngx_str_t.
        let args = unsafe { (*self.raw().args).as_slice::<ngx_str_t>() };
        let text = |word| str::from_utf8(bytes_of(word)).map_err(|_| "not UTF-8".to_string());
        args.iter().map(text).collect()
    }

    /// Says what is wrong, with file and line.
    pub fn reject(&self, message: &str) {
        let message = self.shown(message);
        // SAFETY (of the macro): `self.0` is live, see `raw`.
        ngx_conf_log_error!(NGX_LOG_EMERG, self.0, "{message}");
    }

    /// Says what is doubtful, with file and line.
    pub fn warn(&self, message: &str) {
        let message = self.shown(message);
        // SAFETY (of the macro): `self.0` is live, see `raw`.
        ngx_conf_log_error!(NGX_LOG_WARN, self.0, "{message}");
    }

    /// What may be told of a message: arguments that are echoed in it may be secrets.
    fn shown(&self, message: &str) -> String {
        crate::log::shown(message, &self.words().unwrap_or_default())
    }

    /// Reads a block of ours, a directive at a time. The first that is refused
    /// ends it; what is wrong with it has then been said.
    #[expect(clippy::result_unit_err, reason = "what is wrong has been said")]
    pub fn block(
        &mut self,
        mut read: impl FnMut(&Self, Block<'_>) -> ConfResult,
    ) -> Result<(), ()> {
        let mut reader: &mut Reader<'_> = &mut read;
        // SAFETY: the pointers that are put into cf live on this frame, which
        // outlasts ngx_conf_parse; nginx expects exactly this use of handler and
        // handler_conf (see the map and types blocks), and cf is put back after.
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

    /// A path as nginx means it: relative ones start at the configuration's folder.
    pub fn full_path(&self, path: &str) -> ConfResult<String> {
        // SAFETY: the pool and the cycle belong to the configuration being read;
        // ngx_conf_full_name needs a NUL-terminated name and replaces it in place.
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

    /// An environment variable of the starting process. It is kept for workers
    /// and for the next binary too (`env NAME;`), which else would start without.
    pub fn environment(&self, name: &str) -> Option<String> {
        self.keep_environment(name);
        std::env::var(name).ok()
    }

    fn keep_environment(&self, name: &str) {
        // SAFETY: conf_ctx is filled with the core module's configuration before
        // any http block is read, and `env` is an initialised array of ngx_str_t.
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
            // nginx looks at the byte behind a name, for a "=".
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

    /// How many workers the configuration asks for.
    pub fn workers(&self) -> usize {
        crate::config::module::worker_processes(self.raw().cycle)
    }

    /// Whether the secrets that the configuration names need not be there:
    /// `nginx -s reload` runs in the caller's environment.
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
        // SAFETY: `reader` is the pointer that Conf::block put into handler_conf;
        // it lives on the frame below ngx_conf_parse, which called us.
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
