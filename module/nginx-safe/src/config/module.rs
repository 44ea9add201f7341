use core::ffi::{c_char, c_void};
use core::ptr;

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK, Pool};
use ngx::ffi::{
    ngx_conf_t, ngx_core_conf_t, ngx_core_module, ngx_cycle_t, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_http_module_t, ngx_int_t, ngx_module_t,
};
use ngx::http::HttpModuleConfExt;

use crate::config::entries::Entries;
use crate::config::parse::{Conf, ConfResult, status};
use crate::config::registered;
use crate::config::tagged::{self, Tagged};
use crate::config::variable::{self, Variables};
use crate::destination;
use crate::filter::chain::{self, Filter};
use crate::guard;
use crate::log;
use crate::process::{self, Cycle};
use crate::request::content::Content;
use crate::request::phase::{self, PhaseHandler, phase_entry};
use crate::upstream::wrap::{ContentHandler, Wrapped};

/// An HTTP module, as nginx meets it.
pub trait HttpModule: 'static {
    /// The configuration of the `http` block.
    type Main: MainConf;
    /// The configuration of a location.
    type Location: LocationConf<Main = Self::Main>;
    /// The handler in ACCESS.
    type Access: PhaseHandler;
    /// The handler in PRECONTENT.
    type Precontent: PhaseHandler;
    /// The handler in LOG.
    type Log: PhaseHandler;
    /// The filter of headers and bodies.
    type Filter: Filter;
    /// What answers the locations of [`Conf::serve_content`].
    type Content: Content;
    /// The variables of the module.
    const VARIABLES: Variables;

    /// The module's record, which [`crate`] exports to nginx.
    fn record() -> *const ngx_module_t;
    /// Its functions that are known by their address, likewise.
    fn entries() -> &'static Entries;
    /// A message about a directive of these words as it may be written: without what looks
    /// like a secret, on one line.
    fn show(message: &str, words: &[&str]) -> String;
    /// The configuration is about to be taken into use; in the master.
    fn commit(main: &Self::Main) -> ConfResult;
    /// A worker starts.
    fn start(main: &Self::Main, cycle: Cycle) -> ConfResult;
    /// A worker ends.
    fn stop();
    /// All workers have ended; in the master.
    fn finish(main: &Self::Main);
}

/// The configuration of the `http` block.
pub trait MainConf: Default + 'static {
    /// All directives have been read.
    fn complete(&mut self, conf: &Conf) -> ConfResult;
}

/// The configuration of a location, and of the levels above it.
pub trait LocationConf: Default + 'static {
    /// The configuration of the `http` block.
    type Main;
    /// Takes over from the level above what this one does not say.
    fn inherit(&mut self, above: &Self, main: &Self::Main) -> ConfResult;
    /// The upstream that requests here are sent to, if the configuration says it.
    fn found_upstream(&mut self, name: &str, main: &Self::Main);
    /// The location's content handler.
    fn content(&self) -> &ContentHandler;
    /// Whether requests are sent with a key only: the content handler is wrapped.
    fn needs_key(&self) -> bool;
    /// Whether [`Filter::client_left`] is to be asked here.
    fn drains(&self) -> bool;
}

pub(crate) fn the_module<M: HttpModule>() -> &'static ngx_module_t {
    // SAFETY: the record is a static; nginx writes its index when it loads the
    // module, before anything reads it.
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

fn said(conf: &Conf, result: ConfResult) -> bool {
    if let Err(message) = &result {
        conf.reject(message);
    }
    result.is_ok()
}

unsafe extern "C" fn preconfiguration<M: HttpModule>(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(status(false), || {
        registered::register::<M>();
        log::route_panics();
        log::show_by(M::show);
        let conf = Conf(cf);
        let ready = process::may_configure().and_then(|()| variable::declare::<M>(&conf));
        status(said(&conf, ready))
    })
}

unsafe extern "C" fn postconfiguration<M: HttpModule>(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(status(false), || {
        let conf = Conf(cf);
        let added = phase::add(&conf, M::Access::PHASE, phase_entry::<M::Access>)
            .and_then(|()| phase::add(&conf, M::Precontent::PHASE, M::entries().precontent))
            .and_then(|()| phase::add(&conf, M::Log::PHASE, phase_entry::<M::Log>))
            .and_then(|()| variable::check::<M>(&conf));
        chain::install::<M::Filter>();
        status(said(&conf, added))
    })
}

unsafe extern "C" fn create<T: Default + 'static>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the pool of the configuration being read; it drops the value
        // when the cycle ends.
        let pool = unsafe { Pool::from_ngx_pool((*cf).pool) };
        tagged::make::<T>(&pool)
    })
}

unsafe extern "C" fn init_main<M: HttpModule>(
    cf: *mut ngx_conf_t,
    main: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        let conf = Conf(cf);
        // SAFETY: what `create` made; nobody else refers to it now.
        let main = unsafe { tagged::find::<M::Main>(main).map(|mut found| found.as_mut()) };
        let done = main.map_or(Err("no configuration".into()), |main| main.complete(&conf));
        if said(&conf, done) {
            NGX_CONF_OK
        } else {
            NGX_CONF_ERROR
        }
    })
}

unsafe extern "C" fn merge_location<M: Wrapped>(
    cf: *mut ngx_conf_t,
    above: *mut c_void,
    own: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        let conf = Conf(cf);
        // SAFETY: what `create` made, two different levels; cf's context is that of
        // the http block while locations are merged.
        let (above, own, main) = unsafe {
            (
                tagged::find::<M::Location>(above).map(|found| found.as_ref()),
                tagged::find::<M::Location>(own).map(|mut found| found.as_mut()),
                main_of_conf::<M>(cf),
            )
        };
        let (Some(above), Some(own), Some(main)) = (above, own, main) else {
            return NGX_CONF_ERROR;
        };
        let done = own.inherit(above, main);
        // SAFETY: while locations are merged, cf's context is that of this one.
        unsafe { wrap_content::<M>(cf, own, above) };
        if own.content().is_set() {
            // SAFETY: as above; the modules that send have merged theirs before.
            if let Some(name) = unsafe { destination::stated(cf) } {
                own.found_upstream(&name, main);
            }
        }
        if said(&conf, done) {
            NGX_CONF_OK
        } else {
            NGX_CONF_ERROR
        }
    })
}

/// The configuration of the `http` block that is being read.
///
/// # Safety
/// `cf` must be of the `http` block or within it; main configurations must be complete.
unsafe fn main_of_conf<'a, M: HttpModule>(cf: *mut ngx_conf_t) -> Option<&'a M::Main> {
    // SAFETY: the caller's; what `create` made lives as long as the cycle.
    unsafe {
        let main = (*cf).http_main_conf_unchecked::<Tagged<M::Main>>(the_module::<M>())?;
        Some(tagged::find::<M::Main>(main.as_ptr().cast())?.as_ref())
    }
}

/// Puts our content handler in front of the location's own.
///
/// # Safety
/// `cf` must be the configuration of the location whose levels these are.
unsafe fn wrap_content<M: Wrapped>(cf: *mut ngx_conf_t, own: &M::Location, above: &M::Location) {
    let entry = M::entries().content;
    let core_module = &raw const ngx_http_core_module;
    // SAFETY: every location has the core module's configuration.
    let core =
        unsafe { (*cf).http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(&*core_module) };
    let Some(mut core) = core else { return };
    // SAFETY: as above; nobody else refers to it now.
    let core = unsafe { core.as_mut() };
    let content = own.content();
    if content.own.get() {
        return;
    }
    match core.handler {
        Some(theirs) if !core::ptr::fn_addr_eq(theirs, entry) => {
            content.theirs.set(Some(theirs));
            if own.needs_key() {
                core.handler = Some(entry);
            }
        }
        // An `if` block goes on with the handler of its location. A nested location and a
        // `limit_except` block do not.
        _ if core.noname() != 0 && core.lmt_excpt() == 0 => {
            content.theirs.set(above.content().theirs.get());
        }
        _ => {}
    }
}

fn with_main<M: HttpModule>(
    cycle: *mut ngx_cycle_t,
    run: impl FnOnce(&M::Main) -> ConfResult,
) -> ngx_int_t {
    guard(status(false), || {
        // SAFETY: nginx passes the cycle being started. Without an http block we
        // have no configuration, and nothing to do.
        let main =
            unsafe { (*cycle).http_main_conf_unchecked::<Tagged<M::Main>>(the_module::<M>()) };
        // SAFETY: what `create` made; it lives as long as the cycle.
        let main = main.and_then(|main| unsafe { tagged::find::<M::Main>(main.as_ptr().cast()) });
        let Some(main) = main else {
            return status(true);
        };
        // SAFETY: as above; nobody changes it any more.
        let done = run(unsafe { main.as_ref() });
        if let Err(message) = &done {
            log::write(log::Level::Emergency, message);
        }
        status(done.is_ok())
    })
}

/// Called in the master with a new configuration.
///
/// # Safety
/// For nginx alone, with the cycle being started.
pub unsafe extern "C" fn init_module<M: HttpModule>(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    with_main::<M>(cycle, M::commit)
}

/// Called when a worker starts.
///
/// # Safety
/// For nginx alone, with the cycle being started.
pub unsafe extern "C" fn init_process<M: HttpModule>(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    with_main::<M>(cycle, |main| {
        process::note_start();
        M::start(main, Cycle(cycle))
    })
}

/// Called when a worker ends.
///
/// # Safety
/// For nginx alone, with its cycle.
pub unsafe extern "C" fn exit_process<M: HttpModule>(_cycle: *mut ngx_cycle_t) {
    guard((), M::stop);
}

/// Called when the master ends.
///
/// # Safety
/// For nginx alone, with its cycle.
pub unsafe extern "C" fn exit_master<M: HttpModule>(cycle: *mut ngx_cycle_t) {
    with_main::<M>(cycle, |main| {
        M::finish(main);
        Ok(())
    });
}

/// How many workers the configuration asks for, while it is read.
pub(crate) fn worker_processes(cycle: *mut ngx_cycle_t) -> usize {
    // SAFETY: the core module's configuration is there before any http block.
    unsafe {
        let core = *(*cycle).conf_ctx.add(ngx_core_module.index);
        core.cast::<*mut c_void>()
            .cast::<ngx_core_conf_t>()
            .as_ref()
    }
    .map_or(1, |core| core.worker_processes.max(1) as usize)
}

/// Exports a module under the name that `load_module` looks for.
///
/// The order table puts it where auxiliary filters stand: before the copy filter in
/// the list, so after it in the chain, where bodies have been read into memory.
/// (ngx's own macro leaves the order open, which puts the module last.)
#[macro_export]
macro_rules! export_module {
    ($name:ident, $module:ty, $commands:ident) => {
        static CALLBACKS: $crate::raw::ngx_http_module_t = $crate::callbacks::<$module>();

        static ENTRIES: $crate::Entries = $crate::Entries::of::<$module>();

        #[doc(hidden)]
        #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
        #[unsafe(no_mangle)]
        pub static mut $name: $crate::raw::ngx_module_t = $crate::raw::ngx_module_t {
            ctx: (&raw const CALLBACKS).cast_mut().cast(),
            commands: (&raw mut $commands).cast(),
            type_: $crate::raw::NGX_HTTP_MODULE as $crate::raw::ngx_uint_t,
            init_module: Some($crate::init_module::<$module>),
            init_process: Some($crate::init_process::<$module>),
            exit_process: Some($crate::exit_process::<$module>),
            exit_master: Some($crate::exit_master::<$module>),
            ..$crate::raw::ngx_module_t::default()
        };

        #[doc(hidden)]
        #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
        #[unsafe(no_mangle)]
        pub static mut ngx_modules: [*const $crate::raw::ngx_module_t; 2] =
            [&raw const $name, ::core::ptr::null()];

        #[doc(hidden)]
        #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
        #[unsafe(no_mangle)]
        pub static mut ngx_module_names: [*const ::core::ffi::c_char; 2] = [
            concat!(stringify!($name), "\0").as_ptr().cast(),
            ::core::ptr::null(),
        ];

        #[doc(hidden)]
        #[allow(non_upper_case_globals, reason = "the name nginx looks for")]
        #[unsafe(no_mangle)]
        pub static mut ngx_module_order: [*const ::core::ffi::c_char; 3] = [
            concat!(stringify!($name), "\0").as_ptr().cast(),
            c"ngx_http_copy_filter_module".as_ptr(),
            ::core::ptr::null(),
        ];
    };
}
