//! The records of service locks, as they lie in shared memory.

use bytemuck::{Pod, Zeroable};

/// The room for the name of a client, and for that of a service, in bytes.
pub const MAX_NAME: usize = 64;
/// The room for the name of a request.
pub const MAX_REQUEST: usize = 128;
/// The room for what else a service has said of its lock.
pub const MAX_CONTEXT: usize = 1024;

/// Owns the slots of service locks: no worker, so that they outlive every one.
pub(crate) const SERVICE: u32 = u32::MAX - 1;

/// What a service lock is, or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ServiceState {
    /// It holds its slot.
    Held = 1,
    /// Its owner gave it back.
    Released = 2,
    /// Its time was over.
    Expired = 3,
    /// An administrator ended it.
    Forced = 4,
    /// Another has its lock on the nodes.
    Lost = 5,
}

impl ServiceState {
    /// `None` for a record that is not in use.
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

/// What is looked through to find a lock.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Head {
    /// The nonce of its lease, which is its name.
    pub(crate) nonce: [u64; 2],
    /// Of its owner and its request.
    pub(crate) digest: u64,
    pub(crate) fence: u64,
    /// When it was taken, and when it ends or has ended, on the monotonic clock.
    pub(crate) taken_ms: u64,
    pub(crate) until_ms: u64,
    /// When its lock on the nodes was last put in order.
    pub(crate) tended_ms: u64,
    /// Until when nodes may keep that lock, by all that they were asked to: perhaps for
    /// longer than the service has it. 0 if they have none.
    pub(crate) asked_ms: u64,
    pub(crate) lock_nonce: [u64; 2],
    pub(crate) lock_fence: u64,
    pub(crate) state: u32,
    pub(crate) slot: u32,
    pub(crate) key: u32,
    pub(crate) ordinal: u32,
    /// Not 0 when its owner has said what was done with it.
    pub(crate) told: u64,
}

/// Whose it is, and what for.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Note {
    pub(crate) client: [u8; MAX_NAME],
    pub(crate) service: [u8; MAX_NAME],
    pub(crate) request: [u8; MAX_REQUEST],
    pub(crate) context: [u8; MAX_CONTEXT],
    /// How long each of them is.
    pub(crate) lengths: [u16; 4],
}

impl Note {
    /// Writes the texts, cut off where their room ends.
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

    /// Reads them: client, service, request, context.
    pub(crate) fn read(&self) -> [String; 4] {
        let rooms: [&[u8]; 4] = [&self.client, &self.service, &self.request, &self.context];
        let mut lengths = self.lengths.into_iter();
        rooms.map(|room| {
            let length = usize::from(lengths.next().unwrap_or_default());
            String::from_utf8_lossy(&room[..length.min(room.len())]).into_owned()
        })
    }
}
