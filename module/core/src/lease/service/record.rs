//! Records of service locks in shared memory.

use bytemuck::{Pod, Zeroable};

/// Maximum length of the names of a client and of a service, in bytes.
pub const MAX_NAME: usize = 64;
/// Maximum length of a request's identifier, in bytes.
pub const MAX_REQUEST: usize = 128;
/// Maximum length of a lock's context, in bytes.
pub const MAX_CONTEXT: usize = 1024;

/// Owner of the slots of service locks. It is no worker, so the locks outlive all workers.
pub(crate) const SERVICE: u32 = u32::MAX - 1;

/// State of a service lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ServiceState {
    /// It holds its slot.
    Held = 1,
    /// Released by its owner.
    Released = 2,
    /// Expired.
    Expired = 3,
    /// Ended by an administrator.
    Forced = 4,
    /// Another machine has the lock on the nodes.
    Lost = 5,
}

impl ServiceState {
    /// `None` for an unused record.
    pub(crate) fn of(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Held),
            2 => Some(Self::Released),
            3 => Some(Self::Expired),
            4 => Some(Self::Forced),
            5 => Some(Self::Lost),
            _ => None,
        }
    }
}

/// The part of a record that searches read.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ServiceRecord {
    /// The nonce of the lease, which is the lock's id.
    pub(crate) nonce: [u64; 2],
    /// Hash of client, service and request.
    pub(crate) digest: u64,
    pub(crate) fence: u64,
    /// When the lock was taken, and when it ends or ended, on the monotonic clock.
    pub(crate) taken_ms: u64,
    pub(crate) until_ms: u64,
    /// Time of the last maintenance of the lock on the nodes.
    pub(crate) tended_ms: u64,
    /// Until when nodes may keep the lock, by all requests sent to them. This can be later than
    /// the end of the service lock. 0 if they do not have it.
    pub(crate) asked_ms: u64,
    pub(crate) lock_nonce: [u64; 2],
    pub(crate) lock_fence: u64,
    pub(crate) state: u32,
    pub(crate) slot: u32,
    pub(crate) key: u32,
    pub(crate) ordinal: u32,
    /// Not 0 when the owner has reported its usage.
    pub(crate) reported: u64,
}

/// Owner and context of a service lock.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ServiceTexts {
    pub(crate) client: [u8; MAX_NAME],
    pub(crate) service: [u8; MAX_NAME],
    pub(crate) request: [u8; MAX_REQUEST],
    pub(crate) context: [u8; MAX_CONTEXT],
    /// Lengths of the texts.
    pub(crate) lengths: [u16; 4],
}

impl ServiceTexts {
    /// Stores the texts, truncated to their fields.
    pub(crate) fn write(&mut self, texts: [&str; 4]) {
        let rooms: [&mut [u8]; 4] = [
            &mut self.client,
            &mut self.service,
            &mut self.request,
            &mut self.context,
        ];
        for ((room, text), length) in rooms.into_iter().zip(texts).zip(&mut self.lengths) {
            let fits = |end: &usize| *end <= room.len() && text.is_char_boundary(*end);
            let end = (0..=text.len()).rev().find(fits).unwrap_or_default();
            room[..end].copy_from_slice(&text.as_bytes()[..end]);
            *length = end as u16;
        }
    }

    /// Returns the texts: client, service, request, context.
    pub(crate) fn read(&self) -> [String; 4] {
        let rooms: [&[u8]; 4] = [&self.client, &self.service, &self.request, &self.context];
        let mut lengths = self.lengths.into_iter();
        rooms.map(|room| {
            let length = usize::from(lengths.next().unwrap_or_default());
            String::from_utf8_lossy(&room[..length.min(room.len())]).into_owned()
        })
    }
}
