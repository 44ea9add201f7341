//! A binary heap of record indexes in borrowed memory, with back pointers.
//!
//! Each record stores its position in the heap, so that it can be moved or removed in O(log n).
//! The caller defines the order.

use super::record::NONE;

/// The order and the back pointers of a heap's records.
pub(crate) trait Order {
    /// Whether `a` comes before `b`.
    fn before(&self, a: u32, b: u32) -> bool;
    /// Stores the position of `id`; [`NONE`] when it has been removed.
    fn placed(&mut self, id: u32, at: u32);
    /// The stored position of `id`.
    fn place(&self, id: u32) -> u32;
}

/// A heap over `items[..len]`.
pub(crate) struct Heap<'a, O> {
    pub(crate) items: &'a mut [u32],
    pub(crate) len: &'a mut u32,
    pub(crate) order: O,
}

impl<O: Order> Heap<'_, O> {
    /// Adds `id`; `false` when there is no room.
    pub(crate) fn push(&mut self, id: u32) -> bool {
        let at = *self.len as usize;
        let Some(place) = self.items.get_mut(at) else {
            return false;
        };
        *place = id;
        *self.len += 1;
        self.sift_up(at);
        true
    }

    /// Removes `id`; `false` when it is not in this heap.
    pub(crate) fn remove(&mut self, id: u32) -> bool {
        let at = self.order.place(id) as usize;
        if at >= *self.len as usize || self.items[at] != id {
            return false;
        }
        *self.len -= 1;
        let last = self.items[*self.len as usize];
        self.order.placed(id, NONE);
        if last != id {
            self.items[at] = last;
            self.settle(at);
        }
        true
    }

    /// Restores the order after the rank of `id` has changed.
    pub(crate) fn update(&mut self, id: u32) {
        let at = self.order.place(id) as usize;
        if at < *self.len as usize && self.items[at] == id {
            self.settle(at);
        }
    }

    /// Moves the item at a position down to a leaf, then up to its place: moved items mostly belong
    /// near the leaves.
    fn settle(&mut self, mut at: usize) {
        let id = self.items[at];
        let items = &mut self.items[..*self.len as usize];
        while let Some(&left) = items.get(2 * at + 1) {
            let mut child = 2 * at + 1;
            let mut first = left;
            if let Some(&right) = items.get(child + 1)
                && self.order.before(right, left)
            {
                child += 1;
                first = right;
            }
            items[at] = first;
            self.order.placed(first, at as u32);
            at = child;
        }
        items[at] = id;
        self.sift_up(at);
    }

    fn sift_up(&mut self, mut at: usize) {
        let id = self.items[at];
        while at > 0 {
            let parent = (at - 1) / 2;
            let above = self.items[parent];
            if !self.order.before(id, above) {
                break;
            }
            self.set(at, above);
            at = parent;
        }
        self.set(at, id);
    }

    fn set(&mut self, at: usize, id: u32) {
        self.items[at] = id;
        self.order.placed(id, at as u32);
    }
}
