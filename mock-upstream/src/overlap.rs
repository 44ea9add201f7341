//! Keys that had more requests in flight than they have slots, one by one.

use std::net::SocketAddr;
use std::time::Instant;

use crate::stats::KeyName;

/// No more are kept: so many are enough.
const KEPT: usize = 10_000;

/// A request arrived under a key of which all slots were in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// [`key_hash`](crate::key_hash) of the `Authorization` header.
    pub key: String,
    /// When.
    pub began: Instant,
    /// When no more requests were in flight than there are slots; `None` while it lasts.
    pub ended: Option<Instant>,
    /// Those in flight then, the new one among them.
    pub parties: Vec<Party>,
}

/// A request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Where its connection comes from; `None` if that is not known any more.
    pub peer: Option<SocketAddr>,
    /// When it arrived.
    pub since: Instant,
}

/// The overlaps of one key.
#[derive(Debug, Default)]
pub(crate) struct Overlaps {
    kept: Vec<Overlap>,
    /// Those from here on last still.
    lasting: usize,
}

impl Overlaps {
    pub(crate) fn begin(&mut self, parties: Vec<Party>) {
        if self.kept.len() < KEPT {
            self.kept.push(Overlap {
                key: String::new(),
                began: Instant::now(),
                ended: None,
                parties,
            });
        }
    }

    pub(crate) fn end(&mut self) {
        if self.lasting < self.kept.len() {
            let now = Instant::now();
            for overlap in &mut self.kept[self.lasting..] {
                overlap.ended = Some(now);
            }
            self.lasting = self.kept.len();
        }
    }

    /// Forgets them; one that lasts still is shown by the count of those in flight.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn named(&self, key: KeyName) -> impl Iterator<Item = Overlap> {
        let name = move |overlap: &Overlap| Overlap {
            key: key.to_string(),
            ..overlap.clone()
        };
        self.kept.iter().map(name)
    }
}
