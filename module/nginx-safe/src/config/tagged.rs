//! Configurations as nginx keeps them: by pointers without a type.

use core::any::TypeId;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use ngx::core::Pool;

/// A configuration, and what tells its type.
#[repr(C)]
pub(crate) struct Tagged<T> {
    kind: TypeId,
    value: T,
}

/// Makes a configuration; null when memory is short.
///
/// The pool drops it when it is destroyed.
pub(crate) fn make<T: Default + 'static>(pool: &Pool) -> *mut c_void {
    const { assert!(align_of::<Tagged<T>>() <= ngx::ffi::NGX_ALIGNMENT) };
    let made = Tagged {
        kind: TypeId::of::<T>(),
        value: T::default(),
    };
    pool.allocate(made).cast()
}

/// The configuration at this place, if there is one of this type.
///
/// # Safety
/// Null, or what [`make`] has made for any type and nobody has dropped.
pub(crate) unsafe fn find<T: 'static>(place: *mut c_void) -> Option<NonNull<T>> {
    let tagged = place.cast::<Tagged<T>>();
    // SAFETY: the caller's. The tag comes first, whatever the type, and is never written.
    unsafe {
        if tagged.is_null() || ptr::addr_of!((*tagged).kind).read() != TypeId::of::<T>() {
            return None;
        }
        NonNull::new(&raw mut (*tagged).value)
    }
}
