//! A node's answers, independent of the client library.

/// An answer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A null.
    Nil,
    /// An integer.
    Int(i64),
    /// The status `OK`.
    Okay,
    /// A string or another status.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Self>),
    /// An error.
    Error(ErrorKind),
}

/// Why a node gave no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It is a read-only replica.
    ReadOnly,
    /// It is loading its data.
    Loading,
    /// It is out of memory.
    OutOfMemory,
    /// It cannot persist data and therefore rejects writes.
    Misconfigured,
    /// It is running a script that has exceeded the time limit.
    Busy,
    /// It does not have the script: send its text.
    NoScript,
    /// The password is missing or wrong.
    Denied,
    /// The user may not run the command, or not on this key.
    NoPermission,
    /// It is a replica without its master.
    MasterDown,
    /// It has fewer replicas than configured and rejects writes.
    NoReplicas,
    /// A key has the wrong type for the command.
    WrongType,
    /// Any other error.
    Other,
    /// The lock was set, but the fence is too low or the node had lost its data. The answer of
    /// [`super::Script::Acquire`] has more details.
    Unsure,
    /// The connection broke before an answer came.
    Disconnected,
    /// The answer is invalid.
    Garbage,
}

/// The names in logs. Those in capitals are the names that Redis uses.
const NAMES: [(ErrorKind, &str); 15] = [
    (ErrorKind::ReadOnly, "READONLY"),
    (ErrorKind::Loading, "LOADING"),
    (ErrorKind::OutOfMemory, "OOM"),
    (ErrorKind::Misconfigured, "MISCONF"),
    (ErrorKind::Busy, "BUSY"),
    (ErrorKind::NoScript, "NOSCRIPT"),
    (ErrorKind::Denied, "NOAUTH"),
    (ErrorKind::NoPermission, "NOPERM"),
    (ErrorKind::MasterDown, "MASTERDOWN"),
    (ErrorKind::NoReplicas, "NOREPLICAS"),
    (ErrorKind::WrongType, "WRONGTYPE"),
    (ErrorKind::Other, "ERR"),
    (ErrorKind::Unsure, "unsure"),
    (ErrorKind::Disconnected, "disconnected"),
    (ErrorKind::Garbage, "garbage"),
];

impl ErrorKind {
    /// Classifies an error by its text, with or without the leading `-`.
    #[must_use]
    pub fn classify(message: &str) -> Self {
        let message = message.strip_prefix('-').unwrap_or(message);
        if message.starts_with("ERR Protocol error: unauthenticated") {
            // The answer of Redis to an unauthenticated call with many arguments; it then
            // disconnects.
            return Self::Denied;
        }
        let name = match message.split_ascii_whitespace().next() {
            Some("WRONGPASS") => "NOAUTH",
            Some(name) if name.bytes().all(|b| b.is_ascii_uppercase()) => name,
            _ => "ERR",
        };
        let known = NAMES.iter().find(|(_, known)| *known == name);
        known.map_or(Self::Other, |&(kind, _)| kind)
    }

    /// The name in logs and listings; for errors of Redis, the name that Redis uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let known = NAMES.iter().find(|(kind, _)| *kind == self);
        known.map_or("ERR", |&(_, name)| name)
    }

    /// Whether the node may have executed the command nevertheless.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(
            self,
            Self::WrongType | Self::Other | Self::Unsure | Self::Disconnected | Self::Garbage
        )
    }
}
