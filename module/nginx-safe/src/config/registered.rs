//! The module that this shared object exports, for code that does not name its type.
//!
//! There is one: a second [`crate::export_module`] would define the symbols that nginx
//! looks for twice.

use core::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use ngx::ffi::ngx_module_t;

use crate::config::entries::Entries;
use crate::config::module::{HttpModule, the_module};

/// The module's position in the arrays that nginx keeps for HTTP modules.
///
/// nginx gives a module its position before it reads the first configuration, and does not
/// change it while the module is loaded.
static POSITION: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The module's record, which is known among the modules of a cycle by its address.
static RECORD: AtomicPtr<ngx_module_t> = AtomicPtr::new(ptr::null_mut());

/// Its functions.
static ENTRIES: OnceLock<&'static Entries> = OnceLock::new();

/// Notes the module: to be called first of all that nginx has it do with a configuration.
pub(crate) fn register<M: HttpModule>() {
    let module = the_module::<M>();
    POSITION.store(module.ctx_index, Ordering::Relaxed);
    RECORD.store(ptr::from_ref(module).cast_mut(), Ordering::Relaxed);
    let _ = ENTRIES.set(M::entries());
}

/// The position of the module in the arrays of a request, which exists only under a
/// configuration that has been read.
pub(crate) fn position() -> usize {
    POSITION.load(Ordering::Relaxed)
}

/// Has the module be at this position.
#[cfg(test)]
pub(crate) fn place_at(position: usize) {
    POSITION.store(position, Ordering::Relaxed);
}

/// The module's record; null until it is registered.
pub(crate) fn record() -> *const ngx_module_t {
    RECORD.load(Ordering::Relaxed)
}

/// The module's functions that are known by their address.
pub(crate) fn entries() -> Option<&'static Entries> {
    ENTRIES.get().copied()
}
