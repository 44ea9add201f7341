//! The module that this shared object exports, for code that is not generic over its type.
//!
//! There is only one: a second [`crate::export_module`] would define nginx's symbols twice.

use core::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use ngx::ffi::ngx_module_t;

use crate::config::entries::Entries;
use crate::config::module::{HttpModule, the_module};

/// The module's index in the arrays that nginx keeps for HTTP modules (`ctx_index`).
///
/// nginx assigns it at the first `http` block it reads, before it calls the module, and does not
/// change it while the module is loaded.
static POSITION: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The module's record. Its address identifies the module in a cycle's list of modules.
static RECORD: AtomicPtr<ngx_module_t> = AtomicPtr::new(ptr::null_mut());

/// The module's callbacks.
static ENTRIES: OnceLock<&'static Entries> = OnceLock::new();

/// Stores the module. Called in preconfiguration, before the first directive of an `http` block is
/// read.
pub(crate) fn register<M: HttpModule>() {
    let module = the_module::<M>();
    POSITION.store(module.ctx_index, Ordering::Relaxed);
    RECORD.store(ptr::from_ref(module).cast_mut(), Ordering::Relaxed);
    let _ = ENTRIES.set(M::entries());
}

/// The module's index in the arrays of a request. Valid as soon as an `http` block has been read,
/// so whenever there is a request.
pub(crate) fn position() -> usize {
    POSITION.load(Ordering::Relaxed)
}

/// Sets the module's index.
#[cfg(test)]
pub(crate) fn place_at(position: usize) {
    POSITION.store(position, Ordering::Relaxed);
}

/// The module's record; null until it is registered.
pub(crate) fn record() -> *const ngx_module_t {
    RECORD.load(Ordering::Relaxed)
}

/// The module's callbacks that are recognised by their address; `None` before registration.
pub(crate) fn entries() -> Option<&'static Entries> {
    ENTRIES.get().copied()
}
