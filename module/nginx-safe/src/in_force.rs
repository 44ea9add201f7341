//! Resources of a configuration that are used outside of requests: shared zones, and the line log.
//!
//! nginx destroys a configuration when another one replaces it, and when the process ends.
//! Therefore no pointer to its resources is kept; each use looks them up here.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;

use ngx::ffi::{ngx_cycle, ngx_cycle_t, ngx_pool_cleanup_add, ngx_shm_zone_t};

use crate::config::parse::ConfResult;
use crate::line_log::LineLog;
use crate::process::has_events;
use crate::shm;

/// The number of zones that a module may declare.
const MOST_ZONES: usize = 4;

/// The resources of one configuration.
#[derive(Clone, Copy)]
struct Resources {
    /// Zones with their tags; null for unused entries.
    zones: [(usize, *mut ngx_shm_zone_t); MOST_ZONES],
    line_log: Option<LineLog>,
}

impl Resources {
    const NONE: Self = Self {
        zones: [(0, ptr::null_mut()); MOST_ZONES],
        line_log: None,
    };
}

thread_local! {
    /// The resources that the configuration being read has declared so far.
    static DECLARED: Cell<Resources> = const { Cell::new(Resources::NONE) };
    /// The cycle in force and its resources.
    static IN_FORCE: Cell<(*const ngx_cycle_t, Resources)> =
        const { Cell::new((ptr::null(), Resources::NONE)) };
}

/// Forgets the resources declared so far. Called when nginx begins to read a configuration: an
/// earlier one may have been rejected.
pub(crate) fn begin() {
    DECLARED.set(Resources::NONE);
}

/// Notes a zone of the configuration being read. Fails if there are more than [`MOST_ZONES`].
pub(crate) fn declare_zone(tag: usize, zone: *mut ngx_shm_zone_t) -> ConfResult {
    let mut declared = DECLARED.get();
    let mut places = declared.zones.iter_mut();
    let place = places.find(|(known, zone)| *known == tag || zone.is_null());
    *place.ok_or("too many zones")? = (tag, zone);
    DECLARED.set(declared);
    Ok(())
}

/// Notes the line log of the configuration being read.
pub(crate) fn declare_line_log(log: LineLog) {
    DECLARED.set(Resources {
        line_log: Some(log),
        ..DECLARED.get()
    });
}

/// Puts the configuration that was read last in force.
///
/// # Safety
/// `cycle` must be the one that this configuration belongs to, and nginx must be about to start it.
pub(crate) unsafe fn replace(cycle: *mut ngx_cycle_t) -> ConfResult {
    // SAFETY: the caller guarantees a live cycle, and so its pool. A pool runs its cleanups in
    // reverse order (Pool). This one is added after the whole configuration has been read, so it
    // runs before any value of the configuration is dropped, and before the records of zones and
    // files are freed.
    unsafe {
        let cleanup = ngx_pool_cleanup_add((*cycle).pool, 0);
        if cleanup.is_null() {
            return Err("no memory".into());
        }
        (*cleanup).data = cycle.cast();
        (*cleanup).handler = Some(end);
    }
    // SAFETY: the caller guarantees that nginx is about to start `cycle`; it frees what belongs to
    // the previous one after that (Cycle).
    unsafe { put(cycle, DECLARED.replace(Resources::NONE)) };
    Ok(())
}

/// Ends the configuration in force, because one without an `http` block replaces it. nginx does not
/// call the module while it reads such a configuration.
///
/// # Safety
/// nginx must be about to start the new cycle.
pub(crate) unsafe fn abandon() {
    // SAFETY: the caller guarantees that nginx is about to start another cycle; it frees what
    // belongs to the previous one after that (Cycle).
    unsafe { put(ptr::null(), Resources::NONE) };
}

/// # Safety
/// nginx must be about to start `cycle`, and must not have freed anything of the previous one.
unsafe fn put(cycle: *const ngx_cycle_t, resources: Resources) {
    let (_, former) = IN_FORCE.replace((cycle, resources));
    for (tag, zone) in former.zones {
        if !zone.is_null() && resources.zones.iter().all(|(kept, _)| *kept != tag) {
            // SAFETY: the zone belongs to the previous configuration; its record and its memory are
            // freed only after nginx has called init_module of all modules (Cycle).
            unsafe { shm::close_channels(zone) };
        }
    }
}

unsafe extern "C" fn end(cycle: *mut c_void) {
    if ptr::eq(IN_FORCE.get().0, cycle.cast()) {
        IN_FORCE.set((ptr::null(), Resources::NONE));
    }
}

/// The zone with this tag in the configuration in force. The pointer is valid during the current
/// call from nginx.
pub(crate) fn zone(tag: usize) -> Option<*mut ngx_shm_zone_t> {
    let resources = resources()?;
    let mut zones = resources.zones.iter();
    let (_, zone) = zones.find(|(known, zone)| *known == tag && !zone.is_null())?;
    Some(*zone)
}

/// The line log of the configuration in force. It is valid during the current call from nginx.
pub(crate) fn line_log() -> Option<LineLog> {
    resources()?.line_log
}

/// The resources of the configuration in force. `None` if the process has an event loop and runs
/// another cycle, whose configuration does not use the module: nginx has freed the resources then.
fn resources() -> Option<Resources> {
    let (cycle, resources) = IN_FORCE.get();
    // SAFETY: this is nginx's pointer to the current cycle, which only nginx's thread writes
    // (Thread). `has_events` is `false` in other threads.
    let runs_another = has_events() && unsafe { !ptr::eq(cycle, ngx_cycle) };
    (!runs_another).then_some(resources)
}
