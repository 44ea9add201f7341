//! Listing of held slots by quorum.

use super::fence::Fence;
use super::node::{NodeId, NodeSet, Quorum};
use super::proposal::Holder;
use super::reply::Held;

/// A held slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSlot {
    /// The slot's index in the command.
    pub index: usize,
    /// The holder's nonce.
    pub nonce: String,
    /// How long a quorum will still show it, in milliseconds; `None` without expiry.
    pub left_ms: Option<u64>,
    /// Its fence, if one of our clients holds it.
    pub fence: Option<Fence>,
    /// What the holder stored, if a node has it.
    pub holder: Option<Holder>,
}

#[derive(Debug)]
struct Sighting {
    index: usize,
    nonce: String,
    left: Vec<u64>,
    fence: Option<Fence>,
    holder: Option<Holder>,
}

/// Answers of several nodes about the same slots.
#[derive(Debug)]
pub struct Listing {
    quorum: Quorum,
    answered: NodeSet,
    sightings: Vec<Sighting>,
}

impl Listing {
    /// A listing without answers.
    #[must_use]
    pub fn new(quorum: Quorum) -> Self {
        Self {
            quorum,
            answered: NodeSet::default(),
            sightings: Vec::new(),
        }
    }

    /// Adds a node's first answer.
    pub fn answered(&mut self, node: NodeId, held: Vec<Held>) {
        if self.answered.contains(node) || !self.quorum.all().contains(node) {
            return;
        }
        self.answered.insert(node);
        for held in held {
            let noted = Holder::from_meta(&held.meta, &held.nonce);
            let left = held.left_ms.unwrap_or(u64::MAX);
            let known = self
                .sightings
                .iter_mut()
                .find(|seen| seen.index == held.index && seen.nonce == held.nonce);
            let seen = match known {
                Some(seen) => seen,
                None => {
                    self.sightings.push(Sighting {
                        index: held.index,
                        nonce: held.nonce,
                        left: Vec::new(),
                        fence: None,
                        holder: None,
                    });
                    let Some(seen) = self.sightings.last_mut() else {
                        return;
                    };
                    seen
                }
            };
            seen.left.push(left);
            if let Some((fence, holder)) = noted {
                seen.fence = seen.fence.max(Some(fence));
                seen.holder = seen.holder.take().or(holder);
            }
        }
    }

    /// Whether enough nodes have answered.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.answered.len() >= self.quorum.needed()
    }

    /// The slots that a quorum shows with the same nonce, by ascending index.
    #[must_use]
    pub fn held(mut self) -> Vec<HeldSlot> {
        let needed = usize::from(self.quorum.needed());
        self.sightings.retain(|seen| seen.left.len() >= needed);
        self.sightings.sort_by_key(|seen| seen.index);
        let held = self.sightings.into_iter().map(|mut seen| {
            seen.left.sort_unstable_by(|a, b| b.cmp(a));
            let left = seen.left.get(needed - 1).copied();
            HeldSlot {
                index: seen.index,
                nonce: seen.nonce,
                left_ms: left.filter(|&left| left != u64::MAX),
                fence: seen.fence,
                holder: seen.holder,
            }
        });
        held.collect()
    }
}
