//! The module that this shared object exports, for code that does not name its type.
//!
//! There is one: a second [`crate::export_module`] would define the symbols that nginx
//! looks for twice.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::entries::Entries;
use crate::config::module::{HttpModule, the_module};

/// The module's position in the arrays that nginx keeps for HTTP modules.
///
/// nginx gives a module its position before it reads the first configuration, and does not
/// change it while the module is loaded.
static POSITION: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Its position among all modules, and its functions.
static MODULE: OnceLock<(usize, &'static Entries)> = OnceLock::new();

/// Notes the module: to be called first of all that nginx has it do with a configuration.
pub(crate) fn register<M: HttpModule>() {
    let module = the_module::<M>();
    POSITION.store(module.ctx_index, Ordering::Relaxed);
    let _ = MODULE.set((module.index, M::entries()));
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

/// The position of the module in nginx's list of all modules.
pub(crate) fn index() -> Option<usize> {
    MODULE.get().map(|(index, _)| *index)
}

/// The module's functions that are known by their address.
pub(crate) fn entries() -> Option<&'static Entries> {
    MODULE.get().map(|(_, entries)| *entries)
}
