use core::ffi::{c_char, c_void};
use core::ptr;

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{
    NGX_HTTP_MODULE, ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t,
    ngx_module_t, ngx_uint_t,
};
use ngx::http::HttpModuleConfExt;

use crate::config::entries::Entries;
use crate::config::location::merge_location;
use crate::config::parse::{Conf, ConfResult, Mistake, status};
use crate::config::registered;
use crate::config::tagged::{self, Tagged};
use crate::config::variable::{self, Variables};
use crate::filter::chain::{self, Filter};
use crate::guard;
use crate::in_force;
use crate::log;
use crate::process::{self, ThreadStage};
use crate::request::content::Content;
use crate::request::handle::Request;
use crate::request::phase::{self, Phase, PhaseHandler, log_entry, phase_entry};
use crate::upstream::wrap::Wrapped;

/// A module that [`export_module`](crate::export_module) has exported.
///
/// ```compile_fail,E0200
/// struct Mine;
///
/// impl nginx_safe::export::Exported for Mine {
///     fn record() -> *const nginx_safe::export::ModuleRecord {
///         std::ptr::null()
///     }
///
///     fn entries() -> &'static nginx_safe::export::Entries {
///         unreachable!()
///     }
/// }
/// ```
///
/// # Safety
/// `record` returns the static that nginx loads as the module, and `entries` the callbacks of the
/// same module.
pub unsafe trait Exported: 'static {
    /// The module's record, which nginx reads.
    fn record() -> *const ModuleRecord;
    /// The module's callbacks that are recognised by their address.
    fn entries() -> &'static Entries;
}

/// An HTTP module. [`export_module`](crate::export_module) exports it to nginx.
pub trait HttpModule: Exported {
    /// The configuration of the `http` block.
    type Main: MainConf;
    /// The configuration of a location.
    type Location: LocationConf<Main = Self::Main>;
    /// The handler in the ACCESS phase.
    type Access: PhaseHandler;
    /// The handler in the PRECONTENT phase.
    type Precontent: PhaseHandler;
    /// The header and body filter.
    type Filter: Filter;
    /// The content of locations with [`Conf::serve_content`].
    type Content: Content;
    /// The prefix of the module's log messages.
    const NAME: &'static str;
    /// The variables of the module.
    const VARIABLES: Variables;

    /// Returns `message`, an error about a directive that consists of `words`, in a form that may
    /// be logged: on one line, and without anything that looks like a secret.
    fn show(message: &str, words: &[&str]) -> String;
    /// Called when a configuration is about to take effect, in the process that read it: the
    /// master, the single process without a master, or `nginx -t`.
    fn commit(main: &Self::Main) -> ConfResult;
    /// Called when a request ends, and when a subrequest ends for which [`Request::report_end`] was
    /// called. It can be called more than once for the same request.
    ///
    /// [`Request::report_end`]: crate::Request::report_end
    fn ended(request: Request<'_>);
    /// Called when a process with an event loop starts: a worker, the cache manager or the cache
    /// loader. [`serves_requests`](crate::serves_requests) tells them apart.
    fn start(main: &Self::Main) -> ConfResult;
    /// Called when a worker ends, but not when the cache manager or the cache loader does.
    fn stop();
    /// Called in the master after all workers have ended, or at the end of a process without a
    /// master.
    fn finish(main: &Self::Main);
}

/// The configuration of the `http` block.
pub trait MainConf: Default + 'static {
    /// Called once all directives have been read.
    fn complete(&mut self, conf: &Conf) -> Result<(), Mistake>;
}

/// The configuration of a location, an `if` block, a server or the `http` block.
pub trait LocationConf: Default + 'static {
    /// The configuration of the `http` block.
    type Main;
    /// Inherits from the level above what this level does not set.
    fn inherit(&mut self, above: &Self, main: &Self::Main, conf: &Conf) -> Result<(), Mistake>;
    /// Inherits the content handler of the level above: this is an `if` or `limit_except` block
    /// without one of its own. Called before [`LocationConf::inherit`].
    fn continues(&mut self, above: &Self);
    /// Called when the location has a content handler that is not this crate's wrapper: that of
    /// another module, such as `proxy_pass`, or that of [`Conf::serve_content`] if
    /// [`LocationConf::is_own`] returns `false`. [`Request::send_with`] can use it to send
    /// requests.
    fn found_handler(&mut self);
    /// Called with the name of the upstream that requests of this location are sent to, if the
    /// configuration states one.
    fn found_upstream(&mut self, name: &str, main: &Self::Main);
    /// Whether the module itself answers requests here: [`Conf::serve_content`] was called for this
    /// location, or for the location whose handler this block inherits.
    fn is_own(&self) -> bool;
    /// Whether the content handler is wrapped, so that requests are only sent by
    /// [`Request::send_with`].
    ///
    /// [`Request::send_with`]: crate::Request::send_with
    fn is_wrapped(&self) -> bool;
    /// Whether [`Filter::client_left`] is called for requests of this location.
    fn drains(&self) -> bool;
}

pub(crate) fn the_module<M: HttpModule>() -> &'static ngx_module_t {
    // SAFETY: `Exported` requires that the record is the static that nginx loads. nginx writes the
    // record while it reads a configuration, in ngx_load_module and ngx_count_modules, and only
    // before it calls a callback of the module (Modules). No caller keeps the reference.
    unsafe { &*M::record() }
}

/// The callbacks by which nginx configures the module.
pub const fn callbacks<M: Wrapped>() -> ngx_http_module_t {
    ngx_http_module_t {
        preconfiguration: Some(preconfiguration::<M>),
        postconfiguration: Some(postconfiguration::<M>),
        create_main_conf: Some(create::<M::Main>),
        init_main_conf: Some(init_main::<M>),
        create_srv_conf: None,
        merge_srv_conf: None,
        create_loc_conf: Some(create::<M::Location>),
        merge_loc_conf: Some(merge_location::<M>),
    }
}

/// Reports the mistake, if any. Returns whether there is none.
pub(crate) fn report(conf: &Conf, result: Result<(), Mistake>) -> bool {
    if let Err(mistake) = &result {
        conf.reject_later(mistake);
    }
    result.is_ok()
}

unsafe extern "C" fn preconfiguration<M: HttpModule>(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(status(false), || {
        in_force::begin();
        registered::register::<M>();
        log::route_panics(M::NAME);
        log::show_by(M::show);
        let conf = Conf(cf);
        let ready = process::may_configure(M::NAME).and_then(|()| variable::declare::<M>(&conf));
        status(report(&conf, ready.map_err(Mistake::from)))
    })
}

unsafe extern "C" fn postconfiguration<M: HttpModule>(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(status(false), || {
        let conf = Conf(cf);
        // SAFETY: this is postconfiguration (Configuration).
        let added = unsafe {
            chain::install::<M::Filter>();
            phase::add(&conf, Phase::Access, phase_entry::<M::Access>)
                .and_then(|()| phase::add(&conf, Phase::Precontent, M::entries().precontent))
                .and_then(|()| phase::add(&conf, Phase::Log, log_entry::<M>))
                .and_then(|()| variable::check::<M>(&conf))
        };
        status(report(&conf, added.map_err(Mistake::from)))
    })
}

unsafe extern "C" fn create<T: Default + 'static>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // create_main_conf is the first callback that nginx calls.
        process::enter(ThreadStage::Configures);
        // SAFETY: nginx passes the live ngx_conf_t of the configuration being read. Its pool is
        // that of the cycle (Call, Pool).
        unsafe { tagged::make::<T>((*cf).pool) }
    })
}

unsafe extern "C" fn init_main<M: HttpModule>(
    cf: *mut ngx_conf_t,
    main: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        let conf = Conf(cf);
        // SAFETY: nginx passes what create_main_conf returned, which `create` made, and holds no
        // other reference to it while it reads the configuration (Configuration).
        let main = unsafe { tagged::find::<M::Main>(main).map(|mut found| found.as_mut()) };
        let done = main.map_or_else(
            || Err(Mistake::from("no configuration".to_owned())),
            |main| main.complete(&conf),
        );
        if report(&conf, done) {
            NGX_CONF_OK
        } else {
            NGX_CONF_ERROR
        }
    })
}

/// Calls `run` with the main configuration, if there is an http block.
///
/// # Safety
/// `cycle` must be a live cycle.
unsafe fn with_main<M: HttpModule>(
    cycle: *mut ngx_cycle_t,
    run: impl FnOnce(Option<&M::Main>) -> ConfResult,
) -> ngx_int_t {
    guard(status(false), || {
        // SAFETY: the caller guarantees the cycle. ngx_init_cycle zeroes conf_ctx, so the http
        // entry is null if the configuration has no http block (Cycle); the result is `None` then.
        let main =
            unsafe { (*cycle).http_main_conf_unchecked::<Tagged<M::Main>>(the_module::<M>()) };
        // SAFETY: the entry is null or what `create` made in the pool of the cycle, which the
        // caller guarantees to be live (Configuration, Pool).
        let main = main.and_then(|main| unsafe { tagged::find::<M::Main>(main.as_ptr().cast()) });
        // SAFETY: nginx calls init_module, init_process and exit_master after it has read the
        // configuration, which is only read from then on (Configuration).
        let done = run(main.map(|main| unsafe { main.as_ref() }));
        if let Err(message) = &done {
            log::write(log::Level::Emergency, message);
        }
        status(done.is_ok())
    })
}

/// The `init_module` callback: a new configuration takes effect.
///
/// # Safety
/// To be called by nginx only, with the cycle being started.
unsafe extern "C" fn init_module<M: HttpModule>(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    let run = |main: Option<&M::Main>| {
        let Some(main) = main else {
            // SAFETY: nginx calls init_module after it has accepted the configuration, and frees
            // what belongs to the previous cycle after that (Cycle).
            unsafe { in_force::abandon() };
            return Ok(());
        };
        // SAFETY: nginx passes the cycle whose configuration it has just read. It has an http
        // block, so `begin` has been called for it, and the previous cycle has not been freed yet
        // (Cycle).
        unsafe { in_force::replace(cycle)? };
        M::commit(main)
    };
    // SAFETY: nginx passes the cycle that ngx_init_cycle is about to return, which is live (Cycle).
    unsafe { with_main::<M>(cycle, run) }
}

/// The `init_process` callback: a worker or a cache process starts.
///
/// # Safety
/// To be called by nginx only, with the cycle being started.
unsafe extern "C" fn init_process<M: HttpModule>(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    let run = |main: Option<&M::Main>| {
        main.map_or(Ok(()), |main| {
            process::enter(ThreadStage::Serves);
            M::start(main)
        })
    };
    // SAFETY: nginx passes the cycle that this process runs, which is live until the process ends
    // (Cycle).
    unsafe { with_main::<M>(cycle, run) }
}

/// The `exit_process` callback: a worker ends.
///
/// # Safety
/// To be called by nginx only, with the cycle that the process runs.
unsafe extern "C" fn exit_process<M: HttpModule>(_cycle: *mut ngx_cycle_t) {
    guard((), M::stop);
    process::enter(ThreadStage::Ends);
}

/// The `exit_master` callback: the master ends.
///
/// # Safety
/// To be called by nginx only, with the cycle that the process runs.
unsafe extern "C" fn exit_master<M: HttpModule>(cycle: *mut ngx_cycle_t) {
    let run = |main: Option<&M::Main>| {
        main.map(M::finish);
        Ok(())
    };
    // SAFETY: nginx calls exit_master before it destroys the cycle that it passes
    // (ngx_master_process_exit).
    unsafe { with_main::<M>(cycle, run) };
}

/// The record of a module, as nginx defines it.
pub type ModuleRecord = ngx_module_t;

/// The callbacks of an HTTP module.
pub type Callbacks = ngx_http_module_t;

/// Makes the record of a module with these callbacks and directives.
pub const fn record<M: Wrapped>(
    callbacks: *const Callbacks,
    commands: *mut ngx_command_t,
) -> ModuleRecord {
    ngx_module_t {
        ctx: callbacks.cast_mut().cast(),
        commands,
        type_: NGX_HTTP_MODULE as ngx_uint_t,
        init_module: Some(init_module::<M>),
        init_process: Some(init_process::<M>),
        exit_process: Some(exit_process::<M>),
        exit_master: Some(exit_master::<M>),
        ..ngx_module_t::default()
    }
}

/// Exports a module under the symbol that `load_module` looks up, with the directives of a constant
/// [`Directives`](crate::Directives).
///
/// The order table places the module where auxiliary filters belong: before the copy filter in
/// nginx's list, and therefore after it in the filter chain, where bodies are in memory. (The macro
/// of the `ngx` crate has no order table, which places the module last.)
#[macro_export]
macro_rules! export_module {
    ($name:ident, $module:ty, $commands:path) => {
        const _: () = {
            static CALLBACKS: $crate::export::Callbacks = $crate::export::callbacks::<$module>();

            static ENTRIES: $crate::export::Entries = $crate::export::Entries::of::<$module>();

            static mut COMMANDS: $crate::Directives<{ $commands.count() }> = $commands;

            #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
            #[unsafe(no_mangle)]
            pub static mut $name: $crate::export::ModuleRecord =
                $crate::export::record::<$module>(&raw const CALLBACKS, (&raw mut COMMANDS).cast());

            #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
            #[unsafe(no_mangle)]
            pub static mut ngx_modules: [*const $crate::export::ModuleRecord; 2] =
                [&raw const $name, ::core::ptr::null()];

            #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
            #[unsafe(no_mangle)]
            pub static mut ngx_module_names: [*const ::core::ffi::c_char; 2] = [
                concat!(stringify!($name), "\0").as_ptr().cast(),
                ::core::ptr::null(),
            ];

            #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
            #[unsafe(no_mangle)]
            pub static mut ngx_module_order: [*const ::core::ffi::c_char; 3] = [
                concat!(stringify!($name), "\0").as_ptr().cast(),
                c"ngx_http_copy_filter_module".as_ptr(),
                ::core::ptr::null(),
            ];

            // SAFETY: ngx_load_module looks up `ngx_modules`, which contains only the address of
            // this static. ENTRIES is made from the same type.
            unsafe impl $crate::export::Exported for $module {
                fn record() -> *const $crate::export::ModuleRecord {
                    &raw const $name
                }

                fn entries() -> &'static $crate::export::Entries {
                    &ENTRIES
                }
            }
        };
    };
}
