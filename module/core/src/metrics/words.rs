//! Records of the zone as words, and the order in which they are written.

use core::sync::atomic::{Ordering, compiler_fence};

use bytemuck::Pod;

/// The words of a record.
pub(super) fn words<T: Pod>(record: &T) -> &[u64] {
    bytemuck::cast_slice(bytemuck::bytes_of(record))
}

/// The words of a record, to be changed.
pub(super) fn words_mut<T: Pod>(record: &mut T) -> &mut [u64] {
    bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(record))
}

/// Adds the words of another record. Words that stay the same are not written, so that their
/// cache lines stay clean.
pub(super) fn add<T: Pod>(record: &mut T, more: &T) {
    for (word, more) in words_mut(record).iter_mut().zip(words(more)) {
        if *more > 0 {
            *word = word.saturating_add(*more);
        }
    }
}

/// The results of an operation on each word of two records.
pub(super) fn each<T: Pod>(mut record: T, other: &T, act: fn(u64, u64) -> u64) -> T {
    for (word, other) in words_mut(&mut record).iter_mut().zip(words(other)) {
        *word = act(*word, *other);
    }
    record
}

/// Keeps the compiler from moving writes across it. If the process dies, a write after the fence
/// is found only together with all writes before it: a processor may reorder writes as well, but
/// another process reads the zone only after it has got the mutex of the dead one.
pub(super) fn fence() {
    compiler_fence(Ordering::SeqCst);
    #[cfg(test)]
    super::tests::interrupted::at_fence();
}
